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
        } else if (event.key === 'p') {
            button.click();
        }
    });

    document.querySelectorAll('.keys-only').forEach((shown) => { shown.hidden = false; });
});
