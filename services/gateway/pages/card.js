"use strict";
(() => {
  const form = document.getElementById("card-form");
  const problem = document.getElementById("card-problem");
  const button = form.querySelector("button");
  const { kind, key, secret } = form.dataset;
  const say = (text) => {
    problem.textContent = text;
    problem.hidden = text === "";
    button.disabled = false;
  };
  if (typeof window.Stripe !== "function") {
    say("The payment provider's form could not be loaded. Reload the page, or try another browser.");
    button.disabled = true;
    return;
  }
  const provider = window.Stripe(key);
  const field = kind === "setup" ? provider.elements().create("card") : null;
  if (field) {
    field.mount("#card-field");
  }
  const ask = () =>
    field ? provider.confirmCardSetup(secret, { payment_method: { card: field } }) : provider.confirmCardPayment(secret);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    say("");
    button.disabled = true;
    try {
      const { error, setupIntent } = await ask();
      if (error) {
        say(error.code || error.type ? error.message : "Fill in number, month, year and security code of the card.");
        return;
      }
      if (setupIntent) {
        form.elements.setup_id.value = setupIntent.id;
      }
      form.submit();
    } catch {
      say("The payment provider did not answer. Nothing was changed; try again.");
    }
  });
})();
