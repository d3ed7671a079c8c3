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

// Charts that look at the same thing: what is under the pointer in one is marked in all.
const groups = new Map();

const number = (value, digits) => typeof value === 'number' ? value.toLocaleString('en', { maximumFractionDigits: digits }) : value ?? '–';

export async function attach(host, url, reference, group) {
    await load(url);
    const state = { queue: Promise.resolve(), option: null, reference };
    state.resize = new ResizeObserver(() => state.missed ? draw(host, null) : push(host, state, () => state.chart?.resize()));
    state.theme = new MutationObserver(() => setTimeout(() => draw(host, null)));
    if (group) {
        state.group = group;
        if (!groups.has(group)) groups.set(group, new Set());
        groups.get(group).add(host);
    }
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
            listen(host, state);
        }
        state.ready = ready(state.option);
        if (state.ready.tooltip?.nearest) state.ready.tooltip.formatter = nearest(host, state.ready.tooltip.nearest, state.ready.tooltip.label ?? '');
        state.chart.setOption({ ...state.ready, animation: !still.matches && state.ready.animation !== false, animationDuration: 200 }, { notMerge: true });
    });
}

function listen(host, state) {
    const { chart } = state;
    chart.on('click', e => state.reference?.invokeMethodAsync('Clicked', e.seriesIndex ?? -1, e.dataIndex ?? -1));
    chart.on('axisareaselected', () => {
        const series = chart.getModel().getSeriesByIndex(0);
        const active = [...series.getRawIndicesByActiveState('active')];
        clearTimeout(state.brush);
        state.brush = setTimeout(() => state.reference?.invokeMethodAsync('Brushed', active.slice(0, 2000)), 150);
    });
    chart.getZr().on('mousemove', e => { state.pointer = state.option.xAxis ? chart.convertFromPixel({ gridIndex: 0 }, [e.offsetX, e.offsetY])?.[1] : undefined; });
    if (!state.group) return;
    chart.group = state.group;
    window.echarts.connect(state.group);
    const all = (type, name) => { for (const other of groups.get(state.group)) { if (other !== host) charts.get(other)?.chart?.dispatchAction({ type, seriesName: name }); } };
    chart.on('mouseover', 'series.line', e => all('highlight', e.seriesName));
    chart.on('mouseout', 'series.line', e => all('downplay', e.seriesName));
}

const escape = text => String(text).replace(/[&<>"]/g, c => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]);

// Of many lines only those next to the pointer are named; with their full names, whatever the legend cuts.
const nearest = (host, shown, label) => params => {
    const lines = params.filter(p => p.value?.[1] != null && !String(p.seriesId).startsWith('raw:') && !String(p.seriesId).startsWith('band:'));
    const at = charts.get(host)?.pointer;
    const close = lines.length > shown && at != null ? [...lines].sort((a, b) => Math.abs(a.value[1] - at) - Math.abs(b.value[1] - at)).slice(0, shown) : lines.slice(0, shown);
    const head = params[0]?.axisValueLabel ?? '';
    return `<div><b>${escape(label)} ${escape(head)}</b></div>` + close.sort((a, b) => b.value[1] - a.value[1])
        .map(p => `<div style="display:flex;gap:12px;justify-content:space-between"><span>${p.marker}${escape(p.seriesName)}</span><b>${number(p.value[1], 5)}${p.value[2] ? ' ' + escape(p.value[2]) : ''}</b></div>`).join('')
        + (lines.length > close.length ? `<div style="opacity:.75">and ${lines.length - close.length} more</div>` : '');
};

const ready = option => {
    const made = themed(structuredClone(option), getComputedStyle(document.documentElement));
    for (const t of [made.tooltip, ...[made.series ?? []].flat().map(s => s.tooltip)])
        if (t?.digits !== undefined) t.valueFormatter = value => number(value, t.digits);
    return made;
};

function save(url, name) {
    const link = document.createElement('a');
    link.href = url;
    link.download = name;
    link.click();
}

// The picture as it is on the screen, in the colours of the present theme.
export function saveImage(host, name, type) {
    const state = charts.get(host);
    if (!state?.chart) return;
    const style = getComputedStyle(document.documentElement), background = style.getPropertyValue('--surface').trim();
    if (type === 'png') { save(state.chart.getDataURL({ type: 'png', pixelRatio: 2, backgroundColor: background }), `${name}.png`); return; }
    const drawing = window.echarts.init(null, null, { renderer: 'svg', ssr: true, width: host.clientWidth, height: host.clientHeight });
    drawing.setOption({ ...state.ready, animation: false, backgroundColor: background });
    const url = URL.createObjectURL(new Blob([drawing.renderToSVGString()], { type: 'image/svg+xml' }));
    drawing.dispose();
    save(url, `${name}.svg`);
    setTimeout(() => URL.revokeObjectURL(url), 10000);
}

export function saveText(name, text, type) {
    const url = URL.createObjectURL(new Blob([text], { type }));
    save(url, name);
    setTimeout(() => URL.revokeObjectURL(url), 10000);
}

export function detach(host) {
    const state = charts.get(host);
    if (!state) return;
    charts.delete(host);
    groups.get(state.group)?.delete(host);
    state.resize.disconnect();
    state.theme.disconnect();
    state.queue.finally(() => state.chart?.dispose());
}
