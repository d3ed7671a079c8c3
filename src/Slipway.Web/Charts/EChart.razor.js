// One chart per host element. Draws are queued per chart, so that a push of data, a resize and a change of theme never overlap.
let library;
const charts = new WeakMap();
const still = matchMedia('(prefers-reduced-motion: reduce)');

const load = url => library ??= new Promise((done, fail) => {
    const script = document.createElement('script');
    script.src = url;
    script.onload = () => done(window.echarts);
    script.onerror = () => { library = undefined; fail(new Error('The chart library could not be loaded.')); };
    document.head.append(script);
});

// Strings such as "--accent" name a theme colour; they are looked up when drawing, so a change of theme only draws again.
const themed = (value, style) => typeof value === 'string' ? (value.startsWith('--') ? style.getPropertyValue(value).trim() : value)
    : Array.isArray(value) ? (typeof value[0] === 'number' ? value : value.map(v => themed(v, style)))
        : value && typeof value === 'object' ? Object.fromEntries(Object.entries(value).map(([k, v]) => [k, themed(v, style)])) : value;

const number = (value, digits) => typeof value === 'number' ? value.toLocaleString('en', { maximumFractionDigits: digits }) : value ?? '–';

export async function attach(host, url, reference) {
    await load(url);
    const state = { queue: Promise.resolve(), option: null, reference };
    state.resize = new ResizeObserver(() => state.missed ? draw(host, null) : push(host, state, () => state.chart?.resize()));
    state.theme = new MutationObserver(() => setTimeout(() => draw(host, null)));
    state.resize.observe(host);
    state.theme.observe(document.documentElement, { attributes: true, attributeFilter: ['data-theme'] });
    charts.set(host, state);
}

const push = (host, state, work) => state.queue = state.queue.then(() => charts.has(host) && work()).catch(console.error);

export function draw(host, option) {
    const state = charts.get(host);
    if (!state) return;
    if (option) state.option = option;
    return push(host, state, () => {
        state.missed = !host.clientWidth;
        if (!state.option || state.missed) return;
        if (!state.chart) {
            state.chart = window.echarts.init(host, null, { renderer: 'canvas' });
            state.chart.on('click', e => state.reference?.invokeMethodAsync('Clicked', e.seriesIndex ?? -1, e.dataIndex ?? -1));
        }
        const ready = themed(structuredClone(state.option), getComputedStyle(document.documentElement));
        for (const t of [ready.tooltip, ...[ready.series ?? []].flat().map(s => s.tooltip)])
            if (t?.digits !== undefined) t.valueFormatter = value => number(value, t.digits);
        state.chart.setOption({ ...ready, animation: !still.matches && ready.animation !== false, animationDuration: 200 }, { notMerge: true });
    });
}

export function detach(host) {
    const state = charts.get(host);
    if (!state) return;
    charts.delete(host);
    state.resize.disconnect();
    state.theme.disconnect();
    state.queue.finally(() => state.chart?.dispose());
}
