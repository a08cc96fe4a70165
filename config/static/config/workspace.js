'use strict';
// The incident's page works without this; it adds a preview in place and keys.
document.addEventListener('DOMContentLoaded', () => {
    const form = document.getElementById('update');
    if (!form) return;
    const preview = document.getElementById('preview');
    const button = form.querySelector('[name="_preview"]');
    const body = form.querySelector('textarea');

    button.addEventListener('click', async (event) => {
        event.preventDefault();
        const answer = await fetch(form.dataset.preview, {
            method: 'POST', body: new FormData(form), credentials: 'same-origin',
        });
        if (!answer.ok) return;
        // Sanitised by the server, exactly as the public page gets it.
        preview.innerHTML = await answer.text() || '<p class="quiet">Nothing to show yet.</p>';
        preview.hidden = false;
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
            state.checked = true;
            state.focus();
        } else if (event.key === 'u') {
            event.preventDefault();
            body.focus();
        } else if (event.key === 'n') {
            form.querySelector('[name="_note"]').click();
        } else if (event.key === 'p') {
            button.click();
        }
    });

    keepTyped(form, body);

    document.querySelectorAll('.keys-only').forEach((shown) => { shown.hidden = false; });
});

// What is typed outlives a login that has expired: it goes when it is published.
function keepTyped(form, body) {
    const name = `tocsin:typed:${location.pathname}`;
    const state = () => form.querySelector('[name="state"]:checked');
    const isWritten = document.querySelector('.messagelist .info, .messagelist .success') !== null;
    const kept = JSON.parse(localStorage.getItem(name) || 'null');
    if (kept && kept.isSent && isWritten) {
        localStorage.removeItem(name);
    } else if (kept && !body.value) {
        body.value = kept.body;
        const chosen = form.querySelector(`[name="state"][value="${CSS.escape(kept.state)}"]`);
        if (chosen) chosen.checked = true;
    }
    const keep = (isSent) => {
        if (!body.value) return localStorage.removeItem(name);
        const typed = {body: body.value, state: state() ? state().value : '', isSent};
        return localStorage.setItem(name, JSON.stringify(typed));
    };
    form.addEventListener('input', () => keep(false));
    form.addEventListener('submit', () => keep(true));
}
