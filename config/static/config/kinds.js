'use strict';
// Shows the fields of the chosen kind alone. Without this script all are there,
// each kind under its own heading, and only those of the chosen one count.
document.addEventListener('DOMContentLoaded', () => {
    const chosen = document.getElementById('id_kind');
    if (!chosen) return;
    const show = () => document.querySelectorAll('fieldset.kind').forEach((fields) => {
        fields.hidden = !fields.classList.contains(`kind-${chosen.value}`);
    });
    chosen.addEventListener('change', show);
    show();
});
