/**
 * Addresses as operators write them.
 */
import assert from 'node:assert/strict';
import { isIPv4, isIPv6 } from 'node:net';
import { isHost, isIpv4, isIpv6, parseHostPort } from '../../../config/core/address.ts';
import { nearest } from '../../../config/core/nearest.ts';
import { suite } from '../../support/harness.ts';

const test = suite('config address');

test('addresses are judged as Node judges them', () => {
  const texts = [
    '1.2.3.4',
    '255.255.255.255',
    '256.1.1.1',
    '01.2.3.4',
    '1.2.3',
    '::',
    '::1',
    '1::',
  ];
  const more = ['2001:db8::1', '1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7::', '::2:3:4:5:6:7:8', '1::2::3'];
  const odd = [
    '1:2:3:4:5:6:7',
    '::ffff:1.2.3.4',
    '1.2.3.4::',
    '12345::',
    ':1',
    '1:',
    '',
    'x',
    ':::',
  ];
  for (const text of [...texts, ...more, ...odd]) {
    assert.equal(isIpv4(text), isIPv4(text), text);
    assert.equal(isIpv6(text), isIPv6(text), text);
  }
});

test('host names follow RFC 1123, and a mistyped address is none', () => {
  for (const host of ['a', 'a.example', 'xn--bcher-kva.example', 'a_b', '10.0.0.1', '::1']) {
    assert.ok(isHost(host), host);
  }
  for (const host of [
    '',
    '10.0.0',
    '10.0.0.256',
    '-a',
    'a-',
    'a..b',
    'a b',
    'a:1',
    `${'a'.repeat(64)}`,
  ]) {
    assert.ok(!isHost(host), host);
  }
});

test('host and port are taken apart', () => {
  assert.deepEqual(parseHostPort('a.example:80', 1), { host: 'a.example', port: 80 });
  assert.deepEqual(parseHostPort('a.example', 1), { host: 'a.example', port: 1 });
  assert.deepEqual(parseHostPort('[::1]:80', 1), { host: '::1', port: 80 });
  assert.deepEqual(parseHostPort('[::1]', 1), { host: '::1', port: 1 });
  for (const text of ['', ':80', 'a:', 'a:0', 'a:65536', '::1', '[a]:1', 'a:1:2', 'a:b', '[::1']) {
    assert.equal(parseHostPort(text, 1), null, text);
  }
});

test('the nearest word is near', () => {
  const words = ['HostAddress', 'Port', 'Password', 'PasswordFile'];
  assert.equal(nearest('HostAdress', words), 'HostAddress');
  assert.equal(nearest('port', words), 'Port');
  assert.equal(nearest('Prot', words), 'Port');
  assert.equal(nearest('PaswordFile', words), 'PasswordFile');
  assert.equal(nearest('Zebra', words), null);
  assert.equal(nearest('x'.repeat(10_000), words), null);
});
