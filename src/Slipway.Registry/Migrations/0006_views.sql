-- Filters, columns and charts that a person keeps under a name: the query of an address of the pages.
CREATE TABLE registry_views (
    owner TEXT NOT NULL,
    page TEXT NOT NULL,
    name TEXT NOT NULL,
    query TEXT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (owner, page, name)
);
