/** SCRAM against the exchanges of RFC 5802 and RFC 7677, and what a server may not do. */
import assert from 'node:assert/strict';
import { EvioError } from '../../../../base/errors.ts';
import { Secret } from '../../../../base/secret.ts';
import { startScram } from '../../../../controller/signal/scram.ts';
import { suite } from '../../../support/harness.ts';

const test = suite('SCRAM');

const examples = [
  {
    hash: 'sha1',
    nonce: 'fyko+d2lbbFgONRv9qkxdawL',
    challenge: 'r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096',
    response: 'c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=',
    proof: 'v=rmF9pqV8S7suAoZWja4dJRkFsKQ=',
  },
  {
    hash: 'sha256',
    nonce: 'rOprNGfwEbeRWgbNEkqO',
    challenge:
      'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096',
    response:
      'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
    proof: 'v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=',
  },
] as const;

for (const { hash, nonce, challenge, response, proof } of examples) {
  const start = (password = 'pencil') => startScram(hash, 'user', new Secret(password), nonce);

  test(`${hash}: the exchange of the RFC`, async () => {
    const scram = start();
    assert.equal(scram.first, `n,,n=user,r=${nonce}`);
    assert.equal(await scram.final(challenge), response);
    scram.verify(proof);
  });

  test(`${hash}: another password gives another proof, and the server's is then wrong`, async () => {
    const scram = start('pencil2');
    assert.notEqual(await scram.final(challenge), response);
    assert.throws(() => scram.verify(proof), unproven);
  });

  for (const wrong of [
    '',
    'v=',
    'v=AAAA',
    `${proof}AAAA`,
    'e=other-error',
    proof.replace('v=', 'x='),
  ]) {
    test(`${hash}: "${wrong}" proves nothing`, async () => {
      const scram = start();
      await scram.final(challenge);
      assert.throws(() => scram.verify(wrong), unproven);
    });
  }

  test(`${hash}: nothing proves anything before the challenge`, () => {
    assert.throws(() => start().verify(proof), unproven);
  });

  for (const [what, text] of [
    ['a nonce that is not ours', 'r=other,s=QSXCR+Q6sek8bf92,i=4096'],
    ['our nonce alone', `r=${nonce},s=QSXCR+Q6sek8bf92,i=4096`],
    ['no salt', `r=${nonce}x,i=4096`],
    ['an endless salt', `r=${nonce}x,s=${'A'.repeat(400)},i=4096`],
    ['4095 iterations', `r=${nonce}x,s=QSXCR+Q6sek8bf92,i=4095`],
    ['1000001 iterations', `r=${nonce}x,s=QSXCR+Q6sek8bf92,i=1000001`],
    ['iterations that are no number', `r=${nonce}x,s=QSXCR+Q6sek8bf92,i=4096.5`],
    ['a mandatory extension', `m=x,r=${nonce}x,s=QSXCR+Q6sek8bf92,i=4096`],
    ['nothing', ''],
  ] as const) {
    test(`${hash}: a challenge with ${what} is refused`, async () => {
      await assert.rejects(start().final(text), unproven);
    });
  }
}

test('names are escaped and passwords prepared', async () => {
  const scram = startScram('sha1', 'a=b,c', new Secret('x'), 'n');
  assert.equal(scram.first, 'n,,n=a=3Db=2Cc,r=n');
  const proofOf = (password: string) =>
    startScram('sha1', 'u', new Secret(password), 'n').final('r=nx,s=QSXCR+Q6sek8bf92,i=4096');
  assert.equal(await proofOf('I\u00adX'), await proofOf('IX')); // RFC 4013 section 3
  assert.equal(await proofOf('\u00aa'), await proofOf('a'));
  assert.equal(await proofOf('a\u00a0b'), await proofOf('a b'));
  assert.notEqual(await proofOf('A'), await proofOf('a'));
});

function unproven(error: unknown): boolean {
  return error instanceof EvioError && error.code === 'signal.server-unproven';
}
