// The little that htmx does not do. Everything works without it.
"use strict";
(() => {
  // A form marked so is sent when something in it changes; its button is then not needed.
  const wire = (root) => {
    for (const form of root.querySelectorAll("form[data-auto]")) {
      if (form.dataset.wired) continue;
      form.dataset.wired = "yes";
      for (const button of form.querySelectorAll("[data-only-without-script]")) button.hidden = true;
      form.addEventListener("change", () => form.requestSubmit());
    }
    // Of a form for many kinds of things, only the fields of the chosen one are seen.
    for (const chosen of root.querySelectorAll("select[data-shows]")) {
      const parts = chosen.form.querySelectorAll("[data-for]");
      const show = () => {
        for (const part of parts) part.hidden = part.dataset.for !== chosen.value;
        const group = chosen.form.querySelector("fieldset");
        if (group) group.hidden = ![...parts].some((part) => !part.hidden);
      };
      chosen.addEventListener("change", show);
      show();
    }
    for (const range of root.querySelectorAll("input[type=range]")) {
      const shown = root.querySelector(`output[for="${CSS.escape(range.id)}"]`);
      range.addEventListener("input", () => {
        if (range.dataset.name) range.name = range.dataset.name;
        if (shown) shown.textContent = `${range.value} %`;
      });
    }
  };
  document.addEventListener("DOMContentLoaded", () => wire(document));
  document.addEventListener("htmx:after:swap", () => wire(document));
  document.addEventListener("neva:renewed", () => wire(document));
})();
