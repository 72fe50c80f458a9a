// The official JavaScript client, unchanged, through a company's first day. One JSON object a line: {step, status, body}.
const fs = require('fs');
const path = require('path');
const { Particle, step, tell } = require('./steps');

const [base, mail] = process.argv.slice(2);
const anybody = new Particle({ baseUrl: base });
const DEVICE = '0123456789abcdef01234567';
const PASSWORD = 'correct horse battery';

// What the link says that was mailed to somebody who signed up.
function mailed(to) {
  const letters = fs.readdirSync(mail).map((name) => fs.readFileSync(path.join(mail, name), 'utf8'));
  const letter = letters.find((text) => text.includes(`To: ${to}`) && text.includes('/verify'));
  return letter.replace(/=\r?\n/g, '').replace(/=3D/g, '=').match(/token=([0-9a-f]{24}\.[0-9a-f]{40})/)[1];
}

// What one of the streams brings first, once what makes it has been done.
async function heard(name, open, act) {
  const stream = await open();
  const first = new Promise((resolve) => stream.once('event', resolve));
  await act();
  const event = await first;
  stream.abort();
  tell(name, 200, event);
}

async function main() {
  for (const username of ['ada@example.com', 'bob@example.com']) {
    await step('sign up', () => anybody.createUser({ username, password: PASSWORD }));
  }
  await step('sign up again', () => anybody.createUser({ username: 'ADA@example.com', password: PASSWORD }));
  await step('wrong password', () => anybody.login({ username: 'ada@example.com', password: 'guess' }));
  const auth = (await step('log in', () => anybody.login({ username: 'ada@example.com', password: PASSWORD }))).access_token;
  const bob = (await step('log in', () => anybody.login({ username: 'bob@example.com', password: PASSWORD }))).access_token;
  await step('no organization', () => anybody.listProducts({ auth }));
  await step('say who I am', () => anybody.setUserInfo({ auth, accountInfo: { first_name: 'Ada' } }));
  await step('who am I', () => anybody.getUserInfo({ auth }));
  await step('identify', () => anybody.trackingIdentity({ auth }));

  await step('found', () => anybody.post({ uri: '/v1/orgs', auth, data: { name: 'Acme Lamps' } }));
  const wanted = { product: { name: 'Lamp', description: 'Shines', device_type: 'mqtt' } };
  const made = await step('create product', () => anybody.post({ uri: '/v1/orgs/acme-lamps/products', auth, data: wanted }));
  const product = made.product.id;
  await step('product', () => anybody.getProduct({ product, auth }));
  await step('product of a stranger', () => anybody.getProduct({ product, auth: bob }));
  await step('configuration', () => anybody.getProductConfiguration({ product, auth }));
  const config = { customers: { private_beta: false }, overview: { summary: 'A lamp', expected_units: 5 } };
  await step('configure', () => anybody.setProductConfiguration({ product, auth, config }));

  await step('add device', () => anybody.addDeviceToProduct({ product, deviceId: DEVICE, auth }));
  const file = Buffer.from('0123456789abcdef01234568\nno device\n');
  await step('add devices', () => anybody.addDeviceToProduct({ product, file, auth }));
  await step('devices', () => anybody.listDevices({ product, auth }));
  await step('rename', () => anybody.renameDevice({ deviceId: DEVICE, product, name: 'cellar', auth }));
  await step('develop', () => anybody.markAsDevelopmentDevice({ deviceId: DEVICE, product, auth }));
  await step('device', () => anybody.getDevice({ deviceId: DEVICE, product, auth }));
  await step('claim what is offline', () => anybody.claimDevice({ deviceId: DEVICE, auth }));
  await step('call what is offline', () => anybody.callFunction({ deviceId: DEVICE, product, name: 'led', argument: 'on', auth }));

  const firmware = { version: 1, title: 'first', description: 'the first one' };
  await step('upload', () => anybody.uploadProductFirmware({ file: Buffer.from('anything'), ...firmware, product, auth }));
  await step('firmware', () => anybody.listProductFirmware({ product, auth }));
  await step('release', () => anybody.releaseProductFirmware({ version: 1, product, productDefault: true, auth }));

  await step('invite nobody', () => anybody.inviteTeamMember({ product, username: 'nobody@example.com', auth }));
  await step('invite', () => anybody.inviteTeamMember({ product, username: 'bob@example.com', auth }));
  await step('invite again', () => anybody.inviteTeamMember({ product, username: 'bob@example.com', auth }));
  const invited = await step('invitations', () => anybody.get({ uri: '/v1/user/invitations', auth: bob }));
  const uri = `/v1/user/invitations/${invited.invitations[0].id}`;
  await step('accept without a word', () => anybody.put({ uri, auth: bob, data: { status: 'accepted' } }));
  await step('verify', () => anybody.post({ uri: '/v1/user/verify', data: { token: mailed('bob@example.com') } }));
  await step('accept', () => anybody.put({ uri, auth: bob, data: { status: 'accepted' } }));
  await step('product of a member', () => anybody.getProduct({ product, auth: bob }));
  await step('team', () => anybody.listTeamMembers({ product, auth }));
  await step('remove', () => anybody.removeTeamMember({ product, username: 'bob@example.com', auth }));

  const hook = { event: 'temp', url: 'http://127.0.0.1:9/in', auth };
  const mine = (await step('create webhook', () => anybody.createWebhook(hook))).id;
  await step('webhooks', () => anybody.listWebhooks({ auth }));
  await step('delete webhook', () => anybody.deleteWebhook({ hookId: mine, auth }));
  const theirs = { ...hook, product, settings: { url: hook.url, requestType: 'POST', json: { t: '{{t}}' } } };
  const integrationId = (await step('create integration', () => anybody.createIntegration(theirs))).id;
  await step('edit integration', () => anybody.editIntegration({ product, integrationId, event: 'te', auth }));
  await step('integrations', () => anybody.listIntegrations({ product, auth }));
  await step('delete integration', () => anybody.deleteIntegration({ product, integrationId, auth }));
  const client = (await step('create client', () => anybody.createOAuthClient({ product, name: 'App', type: 'installed', auth }))).client;
  await step('clients', () => anybody.listOAuthClients({ product, auth }));
  const app = new Particle({ baseUrl: base, clientId: client.id, clientSecret: client.secret });
  const jo = { email: 'jo+x@example.com', password: PASSWORD };
  const customer = (await step('create customer', () => app.createCustomer({ ...jo, product }))).access_token;
  await step('create customer again', () => app.createCustomer({ ...jo, product }));
  await step('customer logs in', () => app.login({ username: jo.email, password: PASSWORD }));
  await step('client logs in', () => app.loginAsClientOwner({}));
  await step('claim code', () => app.getClaimCode({ product, auth: customer }));
  await step('claim code of the team', () => app.getClaimCode({ product, auth }));
  await step("customer's devices", () => app.listDevices({ auth: customer }));
  await step('devices for a customer', () => app.listDevices({ product, auth: customer }));
  await step('customers', () => anybody.get({ uri: `/v1/products/${product}/customers`, auth }));

  await heard('product stream', () => anybody.getEventStream({ product, auth }), () =>
    anybody.publishEvent({ name: 'doors/open', data: 'ü', product, isPrivate: true, auth }));
  await heard('own stream', () => anybody.getEventStream({ deviceId: 'mine', name: 'note', auth }), () =>
    anybody.publishEvent({ name: 'note/1', data: 'x', auth }));

  const current = { currentPassword: PASSWORD, password: 'battery staple horse', invalidateTokens: true };
  await step('change password', () => anybody.changeUserPassword({ auth, ...current }));
  await step('old token', () => anybody.getUserInfo({ auth }));
  const login = { username: 'ada@example.com', password: 'battery staple horse' };
  const again = (await step('log in again', () => anybody.login(login))).access_token;
  await step('delete client', () => anybody.deleteOAuthClient({ product, clientId: client.id, auth: again }));
  await step('delete token', () => anybody.deleteCurrentAccessToken({ auth: again }));
  await step('deleted token', () => anybody.getUserInfo({ auth: again }));
  await step('last member', async () => {
    const last = (await anybody.login(login)).body.access_token;
    return anybody.deleteUser({ auth: last, password: 'battery staple horse' });
  });
  const leaving = (await anybody.login({ username: 'bob@example.com', password: PASSWORD })).body.access_token;
  await step('delete account', () => anybody.deleteUser({ auth: leaving, password: PASSWORD }));
}

main().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
