'use strict';
// Shows the fields of the chosen kind of rule alone. Without this script all are
// there, each with the name of its kind, and only those of the chosen one count.
document.addEventListener('DOMContentLoaded', () => {
    const chosen = document.getElementById('id_alert_for');
    if (!chosen) return;
    const counts = ['failure', 'success'].map((name) => document.getElementById(`id_${name}_threshold`));
    const usual = (kind) => (kind === 'BURN_RATE' ? ['1', '1'] : ['3', '2']);
    const unit = document.getElementById('id_unit');
    const again = document.getElementById('unit-again');
    const sayUnit = () => { again.textContent = unit.selectedOptions[0].text; };
    let before = chosen.value;
    const show = () => {
        const kind = chosen.value;
        chosen.form.classList.add('of-one-kind');
        document.querySelectorAll('[data-kind]').forEach((part) => {
            part.hidden = part.dataset.kind !== kind;
        });
        document.querySelectorAll('[data-not]').forEach((part) => {
            part.hidden = part.dataset.not === kind;
        });
    };
    const change = () => {
        // Thresholds that nobody has touched become those that are usual here.
        if (counts.every((field, n) => field && field.value === usual(before)[n])) {
            counts.forEach((field, n) => { field.value = usual(chosen.value)[n]; });
        }
        before = chosen.value;
        show();
    };
    chosen.addEventListener('change', change);
    unit.addEventListener('change', sayUnit);
    show();
    sayUnit();
});
