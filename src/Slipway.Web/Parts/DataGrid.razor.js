// Tells the server which rows and columns are in view, one question at a time, and moves the keyboard's cell.
const grids = new WeakMap();

export function attach(root, server) {
    const frame = root.querySelector('.grid-frame');
    const state = { asking: false, rested: null, row: null, cell: 0, wanted: null, held: false, rest: 0 };
    grids.set(root, state);
    const number = name => Number(frame.dataset[name]);
    const height = number('rowHeight');
    const header = () => frame.querySelector('thead').offsetHeight;

    // What is in view is asked for at once and alone. When nothing moved for a moment, a margin around it follows.
    const look = async (resting = false) => {
        if (!grids.has(root)) return;
        if (state.asking) return;
        const top = Math.floor(frame.scrollTop / height), rows = Math.ceil((frame.clientHeight - header()) / height) + 1;
        const left = frame.scrollLeft, width = frame.clientWidth, right = left + Math.max(0, width - number('pinned'));
        const drawn = (above, beside) => Math.max(0, top - above) >= number('first') && Math.min(number('rows'), top + rows + above) <= number('last')
            && (left - beside >= number('left') || number('left') === 0) && (right + beside <= number('right') || number('rest') === 0);
        if (drawn(0, 0) && !(state.first && width < 560)) {
            clearTimeout(state.rest);
            const place = [top, rows, left, width].join();
            if (!resting && state.rested !== place) state.rest = setTimeout(look, 120, true);
            if (!resting) return;
            state.rested = place;
            if (drawn(8, 100)) return;
        }
        // A view beside what is drawn goes on from there; one far from it comes alone.
        const near = top + rows >= number('first') && top <= number('last');
        state.first = false;
        state.asking = true;
        try { await server.invokeMethodAsync('Scrolled', top, rows, Math.floor(left), width, resting || near); }
        catch { /* the circuit is gone; its own notice says so */ }
        state.asking = false;
        requestAnimationFrame(() => look());
    };

    // Rows and cells are known by their positions for screen readers, which count from one and count the header.
    const cellAt = (row, cell) => frame.querySelector(`tr[aria-rowindex="${row + 2}"] > [aria-colindex="${cell + 1}"]`);
    const rowOf = element => Number(element.parentElement.ariaRowIndex ?? element.parentElement.getAttribute('aria-rowindex')) - 2;
    const cellOf = element => Number(element.getAttribute('aria-colindex')) - 1;
    const total = () => Number(frame.querySelector('table').getAttribute('aria-colcount'));

    const show = element => {
        const box = element.getBoundingClientRect(), view = frame.getBoundingClientRect();
        const top = view.top + header();
        if (rowOf(element) >= 0) {
            if (box.top < top) frame.scrollTop -= top - box.top;
            else if (box.bottom > view.top + frame.clientHeight) frame.scrollTop += box.bottom - view.top - frame.clientHeight;
        }
        if (element.classList.contains('stick')) return;
        const left = view.left + number('pinned');
        if (box.left < left) frame.scrollLeft -= left - box.left;
        else if (box.right > view.left + frame.clientWidth) frame.scrollLeft += box.right - view.left - frame.clientWidth;
    };

    const go = (row, cell) => {
        row = Math.max(-1, Math.min(number('rows') - 1, row));
        cell = Math.max(0, Math.min(total() - 1, cell));
        state.row = row; state.cell = cell;
        const element = cellAt(row, cell);
        if (!element) {
            // Not drawn yet: scroll to where it will be, and take the focus when it comes.
            state.wanted = { row, cell };
            if (row >= 0) {
                const top = row * height, room = frame.clientHeight - header() - height;
                if (top < frame.scrollTop) frame.scrollTop = top;
                else if (top > frame.scrollTop + room) frame.scrollTop = top - room;
            }
            const drawnCells = [...frame.querySelectorAll('thead [aria-colindex]')].map(cellOf);
            if (!drawnCells.includes(cell)) frame.scrollLeft = cell > Math.max(...drawnCells) ? frame.scrollLeft + 400 : Math.max(0, frame.scrollLeft - 400);
            // The cell that has the focus may be replaced meanwhile; the frame keeps the keyboard in the table.
            frame.focus({ preventScroll: true });
            return;
        }
        state.wanted = null;
        frame.querySelectorAll('[aria-colindex][tabindex="0"]').forEach(e => e.tabIndex = -1);
        element.tabIndex = 0;
        show(element);
        element.focus({ preventScroll: true });
    };

    // One cell is in the order of the tab key; the name in the first row until another has been chosen.
    const keep = () => {
        if (state.wanted && cellAt(state.wanted.row, state.wanted.cell)) go(state.wanted.row, state.wanted.cell);
        if (!frame.querySelector('[aria-colindex][tabindex="0"]')) {
            const element = (state.row !== null && cellAt(state.row, state.cell))
                || frame.querySelector('tbody .stick:not(.pick)') || frame.querySelector('[aria-colindex]');
            if (element) element.tabIndex = 0;
        }
        // A redraw may take away the cell that has the focus; the one that comes to its place takes it over.
        if (state.held && !state.wanted && (document.activeElement === document.body || document.activeElement === frame)) cellAt(state.row, state.cell)?.focus({ preventScroll: true });
        look();
    };
    state.watch = new MutationObserver(() => requestAnimationFrame(keep));
    state.watch.observe(frame, { childList: true, subtree: true });
    state.size = new ResizeObserver(() => requestAnimationFrame(() => look()));
    state.size.observe(frame);
    frame.addEventListener('scroll', () => requestAnimationFrame(() => look()), { passive: true });

    frame.addEventListener('keydown', e => {
        const at = e.target === frame ? cellAt(state.row ?? 0, state.cell) : e.target.closest('[aria-colindex]');
        if ((!at && e.target !== frame) || e.target.matches('input:not([type=checkbox]), select') || e.metaKey || e.altKey) return;
        const row = at ? rowOf(at) : state.row ?? 0, cell = at ? cellOf(at) : state.cell;
        if (e.ctrlKey) {
            if (e.key === 'Home' || e.key === 'End') { e.preventDefault(); go(e.key === 'Home' ? 0 : number('rows') - 1, cell); }
            return;
        }
        const page = Math.max(1, Math.floor((frame.clientHeight - header()) / height) - 1);
        const moves = { ArrowDown: [row + 1, cell], ArrowUp: [row - 1, cell], ArrowRight: [row, cell + 1], ArrowLeft: [row, cell - 1], PageDown: [row + page, cell], PageUp: [Math.max(0, row - page), cell], Home: [row, 0], End: [row, total() - 1] };
        if (e.key in moves) { e.preventDefault(); go(...moves[e.key]); }
        else if (!at) return;
        else if (e.key === 'Enter' && (e.target === at || e.target === frame)) { e.preventDefault(); (at.querySelector('a, button') ?? at.closest('tr').querySelector('a'))?.click(); }
        else if (e.key === ' ' && (e.target === at || e.target === frame || e.target.matches('input'))) { e.preventDefault(); at.closest('tr').querySelector('input[type=checkbox]')?.click(); }
        else if (e.key === 'F10' && e.shiftKey) { e.preventDefault(); at.querySelector('[data-menu]')?.click(); }
    });
    frame.addEventListener('focusin', e => {
        const at = e.target.closest('[aria-colindex]');
        if (at) { state.row = rowOf(at); state.cell = cellOf(at); state.held = true; }
    });
    // An element that is taken away says nothing, so this tells only of a focus that was moved.
    frame.addEventListener('focusout', e => { state.held = frame.contains(e.relatedTarget); });

    // A click on a cell starts the keyboard there; links, buttons and boxes do their own work, and marked text stays marked.
    frame.addEventListener('click', e => {
        const at = e.target.closest('[aria-colindex]');
        if (at && !e.target.closest('a, button, input, select, [data-grip]') && getSelection().isCollapsed) go(rowOf(at), cellOf(at));
    });

    // The menu opens below its button, wherever the table has been scrolled to.
    frame.addEventListener('click', e => {
        const button = e.target.closest('[data-menu]');
        if (!button) return;
        const box = button.getBoundingClientRect();
        root.style.setProperty('--menu-x', `${Math.round(box.left)}px`);
        root.style.setProperty('--menu-y', `${Math.round(box.bottom + 4)}px`);
    }, true);

    frame.addEventListener('pointerdown', e => {
        const grip = e.target.closest('[data-grip]');
        if (!grip) return;
        e.preventDefault();
        const key = grip.dataset.grip, col = frame.querySelector(`col[data-col="${CSS.escape(key)}"]`);
        const start = e.clientX, before = parseInt(col.style.width, 10);
        const width = move => Math.max(56, Math.min(900, before + Math.round(move.clientX - start)));
        const move = m => col.style.width = `${width(m)}px`;
        grip.classList.add('dragging');
        grip.setPointerCapture(e.pointerId);
        grip.addEventListener('pointermove', move);
        grip.addEventListener('pointerup', up => {
            grip.classList.remove('dragging');
            grip.removeEventListener('pointermove', move);
            server.invokeMethodAsync('Resized', key, width(up));
        }, { once: true });
    });

    state.first = true;
    keep();
}

export function detach(root) {
    const state = grids.get(root);
    if (!state) return;
    grids.delete(root);
    clearTimeout(state.rest);
    state.watch.disconnect();
    state.size.disconnect();
}
