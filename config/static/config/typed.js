'use strict';
// What is typed into a form is kept by the browser until Tocsin has accepted it: it
// outlives a login that has expired, and whatever else is sent from the same page.
(({form: id, who, answers}) => {
    const PREFIX = 'tocsin:kept:';
    const place = `${PREFIX}${who}:${location.pathname}`;
    const read = (key) => JSON.parse(localStorage.getItem(key));
    const forget = () => localStorage.removeItem(place);

    if (document.querySelector('.messagelist .accepted')) {
        const ours = Object.keys(localStorage).filter((key) => key.startsWith(PREFIX));
        ours.filter((key) => read(key).isSent).forEach((key) => localStorage.removeItem(key));
    }
    const form = document.getElementById(id);
    if (!form) return;

    // No token, no version, nothing secret, no file.
    const LEFT_OUT = ['hidden', 'password', 'file', 'submit', 'button', 'reset'];
    const fields = () => [...form.elements].filter((field) => field.name && !LEFT_OUT.includes(field.type));
    const named = (name) => fields().filter((field) => field.name === name);
    const isTick = (field) => ['checkbox', 'radio'].includes(field.type);
    const valuesOf = (name) => named(name).flatMap((field) => {
        if (isTick(field)) return field.checked ? [field.value] : [];
        return field.options ? [...field.selectedOptions].map((option) => option.value) : [field.value];
    });
    const put = (name, values) => named(name).forEach((field) => {
        // Nothing is put back where nobody sees it.
        field.closest('details')?.setAttribute('open', '');
        if (isTick(field)) field.checked = values.includes(field.value);
        else if (!field.options) field.value = values[0];
        else for (const option of field.options) option.selected = values.includes(option.value);
    });
    const isSame = (some, others) => JSON.stringify(some) === JSON.stringify(others);

    // What nobody has chosen is not put back over what others choose meanwhile.
    const isAsShown = (name) => form.elements[`was_${name}`]?.value === named(name)[0].value;

    const names = () => new Set(fields().map((field) => field.name));
    const asLoaded = Object.fromEntries([...names()].map((name) => [name, valuesOf(name)]));
    const kept = read(place);
    const typed = new Set(Object.keys(kept ? kept.values : {}));

    const keep = (isSent) => {
        const values = Object.fromEntries([...typed].map((name) => [name, valuesOf(name)]));
        const isNew = answers !== undefined || [...typed].some((name) => !isSame(values[name], asLoaded[name]));
        if (isNew) localStorage.setItem(place, JSON.stringify({values, isSent}));
        else forget();
    };

    // Rows that had been added to the form are added again, and filled in.
    const addRows = () => {
        const more = form.querySelector('.add-row a');
        for (const name of [...typed].filter((name) => !named(name).length)) {
            for (let n = 0; more && n < 50 && !named(name).length; n++) more.click();
            put(name, kept.values[name]);
            if (!named(name).length) typed.delete(name);
        }
    };

    const say = () => {
        const note = document.createElement('p');
        note.className = 'quiet kept';
        note.setAttribute('role', 'status');
        note.innerHTML = 'What you typed is put back. <button type="button" class="wordlike">Start over</button>';
        note.querySelector('button').addEventListener('click', () => {
            forget();
            location.replace(location.pathname);
        });
        form.before(note);
    };

    const putBack = () => {
        const changed = [...typed].filter((name) => named(name).length && !isSame(kept.values[name], valuesOf(name)));
        changed.forEach((name) => put(name, kept.values[name]));
        return changed.length > 0;
    };

    if (answers !== undefined) {
        // The page shows what was sent: nothing of it is accepted yet.
        [...names()].filter((name) => !isAsShown(name)).forEach((name) => typed.add(name));
        keep(false);
    } else if (kept) {
        localStorage.setItem(place, JSON.stringify({...kept, isSent: false}));
        if (putBack()) say();
        // Django's own script has to be there first, where a form has rows.
        if (window.django) django.jQuery(addRows);
        else addRows();
    }
    form.addEventListener('input', ({target}) => {
        if (!fields().includes(target)) return;
        typed.add(target.name);
        keep(false);
    });
    form.addEventListener('submit', () => keep(true));
    document.querySelectorAll('[data-forgets]').forEach((link) => link.addEventListener('click', forget));
})(document.currentScript.dataset);
