'use strict';
// The incident's page works without this; it adds a preview in place and keys.
document.addEventListener('DOMContentLoaded', () => {
    const form = document.getElementById('update');
    if (!form) return;
    const preview = document.getElementById('preview');
    const buttons = form.querySelectorAll('[name="_preview"]');
    const body = form.querySelector('textarea');

    const quiet = (text) => `<p class="quiet">${text}</p>`;
    const render = async () => {
        const posted = {method: 'POST', body: new FormData(form), credentials: 'same-origin'};
        const answer = await fetch(form.dataset.preview, posted).catch(() => null);
        if (!answer) return quiet('Tocsin does not answer; your text is kept.');
        if (!answer.ok || answer.redirected) return quiet('Your login has expired; your text is kept.');
        // Sanitised by the server, exactly as the public page gets it.
        return await answer.text() || quiet('Nothing to show yet.');
    };
    let newest = 0;
    const show = async (isAsked) => {
        const mine = ++newest;
        const html = await render();
        if (mine !== newest) return;
        // What follows the typing is not read out, or nobody could type.
        preview.setAttribute('aria-live', isAsked ? 'polite' : 'off');
        preview.innerHTML = html;
        preview.hidden = false;
    };
    buttons.forEach((button) => button.addEventListener('click', (event) => {
        event.preventDefault();
        show(true);
    }));

    // It follows what is typed once it is open; where there is room it opens by itself.
    const hasRoom = matchMedia('(min-width: 1024px)');
    let pause;
    body.addEventListener('input', () => {
        clearTimeout(pause);
        if (!preview.hidden || hasRoom.matches) pause = setTimeout(() => show(false), 300);
    });

    document.addEventListener('keydown', (event) => {
        if ((event.ctrlKey || event.metaKey) && event.key === 'Enter' && form.contains(document.activeElement)) {
            event.preventDefault();
            form.querySelector('[name="_publish"]').click();
        }
        const typing = event.target.matches('input:not([type="radio"]), textarea, select');
        if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
        const state = form.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
        if (state) {
            state.click();
            state.focus();
        } else if (event.key === 'u') {
            event.preventDefault();
            body.focus();
        } else if (event.key === 'n') {
            form.querySelector('[name="_note"]').click();
        } else if (event.key === 'p') {
            buttons[0].click();
        }
    });

    document.querySelectorAll('.keys-only').forEach((shown) => { shown.hidden = false; });
});
