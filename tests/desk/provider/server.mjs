// A real OpenID provider for the tests: "name" signs in with two factors, "name/password" with one. Reads its configuration as one JSON document from standard input,
// listens on loopback and writes its address as one line. It asks for a name and no password: everybody at it
// is invented.
//
//   {port, clients, key: a private JWK, cookies: a word that keeps two providers' cookies apart}

import { createServer } from 'node:http';
import { createRequire } from 'node:module';

const require = createRequire(process.env.PROVIDER_PACKAGES + '/');
const { default: Provider } = await import(require.resolve('oidc-provider'));

let text = '';
for await (const piece of process.stdin) text += piece;
const given = JSON.parse(text);

const page = (content) => `<!doctype html><html lang="en"><title>Provider</title><main>${content}</main></html>`;

let handle = (request, response) => response.writeHead(503).end();
const server = createServer((request, response) => handle(request, response));
await new Promise((resolve) => server.listen(given.port, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: given.clients,
  jwks: { keys: [given.key] },
  cookies: {
    keys: ['for tests only'],
    names: {
      session: `${given.cookies}_session`,
      interaction: `${given.cookies}_interaction`,
      resume: `${given.cookies}_resume`,
    },
  },
  pkce: { required: () => true },
  enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256'], clientAuthSigningAlgValues: ['RS256', 'ES256'] },
  claims: { openid: ['sub'], acr: null, auth_time: null },
  acrValues: ['two-factors', 'password'],
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  features: {
    devInteractions: { enabled: false },
    rpInitiatedLogout: {
      enabled: true,
      logoutSource: (ctx, form) => {
        ctx.body = page(`${form}<button type="submit" form="op.logoutForm" value="yes" name="logout">Sign out here</button>`);
      },
      postLogoutSuccessSource: (ctx) => {
        ctx.body = page('<p>Signed out at the provider</p>');
      },
    },
  },
  ttl: { Interaction: 600, Session: 3600, Grant: 3600, IdToken: 600, AccessToken: 600 },
  loadExistingGrant: async (ctx) => {
    const grant = new ctx.oidc.provider.Grant({
      clientId: ctx.oidc.client.clientId,
      accountId: ctx.oidc.session.accountId,
    });
    grant.addOIDCScope('openid');
    await grant.save();
    return grant;
  },
});

async function body(request) {
  let sent = '';
  for await (const piece of request) sent += piece;
  return new URLSearchParams(sent);
}

const answer = provider.callback();
handle = async (request, response) => {
  if (!request.url.startsWith('/interaction/')) return answer(request, response);
  try {
    if (request.method === 'POST') {
      const login = (await body(request)).get('login');
      const [accountId, acr = 'two-factors'] = (login ?? '').split('/');
      const result = login
        ? { login: { accountId, acr, remember: false } }
        : { error: 'access_denied', error_description: 'CANARY-OF-THE-PROVIDER' };
      return await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
    }
    response.setHeader('content-type', 'text/html; charset=utf-8');
    return response.end(page(`<form method="post"><label>Login <input name="login"></label>
      <button type="submit">Prove it</button></form>`));
  } catch (fault) {
    return response.writeHead(400).end(String(fault));
  }
};

console.log(issuer);
