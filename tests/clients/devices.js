// The official JavaScript client, unchanged, and one device from its claim to its second firmware. A JSON object a line.
const fs = require('fs');
const { Particle, step, tell, until } = require('./steps');

const [base, username, password, productText, deviceId, module1, module2] = process.argv.slice(2);
const product = Number(productText);
const particle = new Particle({ baseUrl: base });

// Opens a stream and collects what comes; `heard` waits for an event that fits.
async function listen(options) {
  const stream = await particle.getEventStream(options);
  const events = [];
  stream.on('event', (event) => events.push(event));
  return {
    heard: async (fits) => (await until(async () => events.find(fits))),
    close: () => stream.abort(),
  };
}

async function main() {
  const auth = (await step('log in', () => particle.login({ username, password }))).access_token;
  const ofDevice = await listen({ product, deviceId, auth });
  await step('claim code', () => particle.getClaimCode({ auth }));
  tell('online', 200, await ofDevice.heard((event) => event.name === 'spark/status' && event.data === 'online'));
  const claimed = await until(async () => {
    const devices = (await particle.listDevices({ auth })).body;
    return devices.find((device) => device.id === deviceId);
  });
  tell('claimed', 200, claimed);
  await step('claim again', () => particle.claimDevice({ deviceId, auth }));
  const other = { username: 'zoe@example.com', password };
  await step('sign up another', () => particle.createUser(other));
  const others = (await step('log in as another', () => particle.login(other))).access_token;
  await step('claim what is taken', () => particle.claimDevice({ deviceId, auth: others }));
  await step('ask for it', () => particle.claimDevice({ deviceId, requestTransfer: true, auth: others }));
  await until(async () => (await particle.getDevice({ deviceId, auth })).body.functions);
  await step('device', () => particle.getDevice({ deviceId, auth }));
  await step('rename', () => particle.renameDevice({ deviceId, name: 'urn', auth }));
  await step('notes', () => particle.setDeviceNotes({ deviceId, notes: 'on the stove', auth }));

  await step('call', () => particle.callFunction({ deviceId, name: 'brew', argument: 'tea', auth }));
  await step('call by name', () => particle.callFunction({ deviceId: 'urn', name: 'BREW', argument: '', auth }));
  await step('call below the product', () =>
    particle.callFunction({ deviceId, product, name: 'brew', argument: 'tea', auth }));
  await step('call what is not there', () => particle.callFunction({ deviceId, name: 'bake', argument: '', auth }));
  await step('variable', () => particle.getVariable({ deviceId, name: 'name', auth }));
  await step('variable below the product', () => particle.getVariable({ deviceId, product, name: 'on', auth }));
  await step('variable that is not there', () => particle.getVariable({ deviceId, name: 'weight', auth }));
  await step('signal', () => particle.signalDevice({ deviceId, signal: true, auth }));
  await step('ping', () => particle.put({ uri: `/v1/devices/${deviceId}/ping`, auth, data: {} }));

  const mine = await listen({ deviceId: 'mine', name: 'te', auth });
  tell('reading', 200, await mine.heard((event) => event.name === 'telemetry' && event.coreid === deviceId));
  mine.close();

  const file = fs.readFileSync(module1);
  const firmware = { version: 2, title: 'second', description: 'boils faster' };
  await step('upload', () => particle.uploadProductFirmware({ file, ...firmware, product, auth }));
  await step('firmware', () => particle.getProductFirmware({ version: 2, product, auth }));
  const back = (await particle.downloadProductFirmware({ version: 2, product, auth }));
  tell('download', 200, { same: Buffer.compare(Buffer.from(back), file) === 0 });
  await step('release too early', () =>
    particle.releaseProductFirmware({ version: 2, product, productDefault: true, auth }));
  await step('lock and flash', () =>
    particle.lockDeviceProductFirmware({ deviceId, product, desiredFirmwareVersion: 2, flash: true, auth }));
  for (const state of ['started', 'success']) {
    const fits = (event) => event.name === 'spark/flash/status' && event.data.startsWith(state);
    tell(`flash ${state}`, 200, await ofDevice.heard(fits));
  }
  await until(async () => (await particle.getProductFirmware({ version: 2, product, auth })).body.releasable);
  await step('release', () => particle.releaseProductFirmware({ version: 2, product, productDefault: true, auth }));
  await step('unlock', () => particle.unlockDeviceProductFirmware({ deviceId, product, auth }));
  await step('runs it', () => particle.getDevice({ deviceId, product, auth }));
  ofDevice.close();

  await step('sources', () => particle.flashDevice({ deviceId, files: { 'boiler.ino': module2 }, auth }));
  await step('development', () =>
    particle.markAsDevelopmentDevice({ deviceId, product, development: true, auth }));
  const again = await listen({ product, deviceId, auth });
  await step('flash a file', () => particle.flashDevice({ deviceId, files: { 'boiler.bin': module2 }, auth }));
  for (const state of ['started', 'success']) {
    const fits = (event) => event.name === 'spark/flash/status' && event.data.startsWith(state);
    tell(`file ${state}`, 200, await again.heard(fits));
  }
  again.close();
  const same = { files: { 'boiler.bin': module2 }, deviceId, product, auth };
  await until(async () => (await particle.getDevice({ deviceId, product, auth })).body.firmware_version === 3);
  await step('runs the file', () => particle.getDevice({ deviceId, product, auth }));
  await step('flash below the product', () => particle.flashDevice(same));

  await step('removed from its owner', () => particle.removeDeviceOwner({ deviceId, product, auth }));
  await step('nobody owns it', () => particle.getDevice({ deviceId, product, auth }));
  const client = (await step('personal client', () =>
    particle.createOAuthClient({ name: 'Shell', type: 'installed', auth }))).client;
  await step('change client', () => particle.updateOAuthClient({ clientId: client.id, name: 'Bash', auth }));
  const shell = new Particle({ baseUrl: base, clientId: client.id, clientSecret: client.secret });
  const own = (await step('as the owner', () => shell.loginAsClientOwner({}))).access_token;
  await step('who', () => shell.getUserInfo({ auth: own }));
  await step('tokens', () => particle.get({ uri: '/v1/access_tokens', auth }));
  await step('delete client', () => particle.deleteOAuthClient({ clientId: client.id, auth }));
  await step("a deleted client's token", () => shell.getUserInfo({ auth: own }));
  await step('delete token', () => particle.deleteAccessToken({ token: auth }));
  await step('deleted token', () => particle.listDevices({ auth }));
}

main().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
