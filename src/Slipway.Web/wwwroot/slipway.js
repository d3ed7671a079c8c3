// What must happen before the first paint (theme) and what needs no server (keys, copying, focus).
(() => {
    const root = document.documentElement;
    const system = matchMedia('(prefers-color-scheme: dark)');
    const choice = () => { try { return localStorage.getItem('slipway.theme') ?? 'auto'; } catch { return 'auto'; } };
    const dark = () => choice() === 'dark' || (choice() === 'auto' && system.matches);
    const apply = () => root.setAttribute('data-theme', dark() ? 'dark' : 'light');
    apply();

    let listener = null;
    system.addEventListener('change', () => { if (choice() === 'auto') listener?.invokeMethodAsync('SystemThemeChanged', system.matches); });

    window.slipway = {
        theme: reference => { listener = reference; return { choice: choice(), dark: dark() }; },
        setTheme: value => { try { localStorage.setItem('slipway.theme', value); } catch { /* private window: the choice lasts for the page */ } root.setAttribute('data-theme', value === 'auto' ? (system.matches ? 'dark' : 'light') : value); return dark(); },
        applyTheme: isDark => root.setAttribute('data-theme', isDark ? 'dark' : 'light'),
        copy: text => navigator.clipboard ? navigator.clipboard.writeText(text).then(() => true, () => false) : false,
        infer: async (path, body) => {
            const started = performance.now();
            try {
                const response = await fetch(new URL(path, document.baseURI), { method: 'POST', body });
                const text = await response.text();
                return { status: response.status, ms: performance.now() - started, text, variant: response.headers.get('x-slipway-variant'), prediction: response.headers.get('x-slipway-prediction-id') };
            } catch (failure) {
                return { status: 0, ms: performance.now() - started, text: `the server did not answer: ${failure.message}`, variant: null, prediction: null };
            }
        },
        focus: id => document.getElementById(id)?.focus(),
    };

    const typing = e => e.target.closest?.('input, textarea, select, [contenteditable=true]');
    const places = { h: '', r: 'runs', e: 'endpoints', m: 'models', d: 'data', w: 'monitors', a: 'alerts', p: 'pipelines', g: 'governance', l: 'audit' };
    let going = 0;
    document.addEventListener('keydown', e => {
        if (e.ctrlKey || e.metaKey || e.altKey || typing(e) || document.querySelector('dialog[open]')) return;
        if (e.key === '/') { e.preventDefault(); document.getElementById('search')?.focus(); }
        else if (e.key === '?') { e.preventDefault(); document.getElementById('help')?.showModal(); }
        else if (e.key === 'g' && Date.now() - going > 1200) going = Date.now();
        else if (Date.now() - going < 1200 && e.key in places) { going = 0; e.preventDefault(); Blazor.navigateTo(places[e.key]); }
    });
    document.addEventListener('click', e => {
        if (e.target.closest('a.skip')) { e.preventDefault(); document.getElementById('main')?.focus(); }
        const dialog = e.target.closest('[data-dialog]');
        if (dialog) document.getElementById(dialog.dataset.dialog)?.showModal();
        if (e.target.matches('dialog')) e.target.close();
    });
})();
