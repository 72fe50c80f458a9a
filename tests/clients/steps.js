// What the stories share: a step is one call, told as {step, status, body} whether it was refused or not.
const Particle = require('particle-api-js');

const PATIENCE_MS = 60000;

function tell(name, status, body) {
  console.log(JSON.stringify({ step: name, status, body }));
}

async function step(name, act) {
  let answer;
  try {
    answer = await act();
  } catch (error) {
    answer = { statusCode: error.statusCode, body: error.body };
    if (error.statusCode === undefined) throw error;
  }
  tell(name, answer.statusCode, answer.body);
  return answer.body;
}

// What `ask` finds, asked again until it does.
async function until(ask) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await ask();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`not within ${PATIENCE_MS} ms: ${ask}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

module.exports = { Particle, step, tell, until };
