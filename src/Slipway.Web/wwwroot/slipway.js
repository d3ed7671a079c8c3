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

    // Binary tensors of the Open Inference Protocol: a JSON header, and the elements of the tensors behind it, little endian.
    const numbers = { INT8: [1, 'Int8'], UINT8: [1, 'Uint8'], INT16: [2, 'Int16'], UINT16: [2, 'Uint16'], INT32: [4, 'Int32'], UINT32: [4, 'Uint32'], INT64: [8, 'BigInt64'], UINT64: [8, 'BigUint64'], FP32: [4, 'Float32'], FP64: [8, 'Float64'] };
    const tensors = {
        encode: text => {
            const request = JSON.parse(text), parts = [];
            for (const input of request.inputs ?? []) {
                const data = (input.data ?? []).flat(Infinity);
                let bytes;
                if (input.datatype in numbers) {
                    const [size, type] = numbers[input.datatype];
                    const view = new DataView(new ArrayBuffer(data.length * size));
                    data.forEach((value, i) => view[`set${type}`](i * size, type.startsWith('Big') ? BigInt(value) : value, true));
                    bytes = view.buffer;
                } else if (input.datatype === 'BOOL') {
                    bytes = Uint8Array.from(data, value => value ? 1 : 0);
                } else if (input.datatype === 'BYTES') {
                    bytes = new Blob(data.flatMap(value => { const text = new TextEncoder().encode(value); return [Uint32Array.of(text.length), text]; }));
                } else continue; // Half floats have no setter everywhere; the protocol lets a tensor stay in the JSON.
                delete input.data;
                input.parameters = { ...input.parameters, binary_data_size: bytes.byteLength ?? bytes.size };
                parts.push(bytes);
            }
            request.parameters = { ...request.parameters, binary_data_output: true };
            const header = new TextEncoder().encode(JSON.stringify(request));
            return { body: new Blob([header, ...parts]), headers: { 'Inference-Header-Content-Length': header.length, 'Content-Type': 'application/octet-stream' } };
        },
        decode: (buffer, length) => {
            const answer = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 0, length)));
            let at = length;
            for (const output of answer.outputs ?? []) {
                const size = output.parameters?.binary_data_size;
                if (size === undefined) continue;
                const view = new DataView(buffer, at, size);
                at += size;
                if (output.datatype in numbers) {
                    const [width, type] = numbers[output.datatype];
                    output.data = Array.from({ length: size / width }, (_, i) => Number(view[`get${type}`](i * width, true)));
                } else if (output.datatype === 'BOOL') {
                    output.data = Array.from({ length: size }, (_, i) => view.getUint8(i) !== 0);
                } else if (output.datatype === 'BYTES') {
                    output.data = [];
                    for (let i = 0; i < size;) {
                        const text = new Uint8Array(buffer, view.byteOffset + i + 4, view.getUint32(i, true));
                        output.data.push(new TextDecoder().decode(text));
                        i += 4 + text.length;
                    }
                } else output.data = [`${size} bytes of ${output.datatype}`];
            }
            return JSON.stringify(answer);
        },
    };

    window.slipway = {
        theme: reference => { listener = reference; return { choice: choice(), dark: dark() }; },
        setTheme: value => { try { localStorage.setItem('slipway.theme', value); } catch { /* private window: the choice lasts for the page */ } root.setAttribute('data-theme', value === 'auto' ? (system.matches ? 'dark' : 'light') : value); return dark(); },
        applyTheme: isDark => root.setAttribute('data-theme', isDark ? 'dark' : 'light'),
        copy: text => navigator.clipboard ? navigator.clipboard.writeText(text).then(() => true, () => false) : false,
        infer: async (path, body, binary) => {
            const started = performance.now();
            const answer = (status, text, response) => ({ status, ms: performance.now() - started, text, variant: response?.headers.get('x-slipway-variant') ?? null, prediction: response?.headers.get('x-slipway-prediction-id') ?? null, sent });
            let sent = 0, message = { body, headers: {} };
            if (binary) {
                try { message = tensors.encode(body); } catch (failure) { return answer(0, `not sent: ${failure.message}`); }
            }
            sent = binary ? message.body.size : new Blob([body]).size;
            try {
                const response = await fetch(new URL(path, document.baseURI), { method: 'POST', body: message.body, headers: message.headers });
                const header = Number(response.headers.get('inference-header-content-length'));
                return answer(response.status, header ? tensors.decode(await response.arrayBuffer(), header) : await response.text(), response);
            } catch (failure) {
                return answer(0, `the server did not answer: ${failure.message}`);
            }
        },
        save: async (name, type, content) => {
            const url = URL.createObjectURL(new Blob([await content.arrayBuffer()], { type })), link = document.createElement('a');
            link.href = url;
            link.download = name;
            link.click();
            setTimeout(() => URL.revokeObjectURL(url), 10000);
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
