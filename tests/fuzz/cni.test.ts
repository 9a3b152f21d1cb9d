/**
 * What runtimes and files of Kubernetes say, mutated: each is taken or refused with a code, and what
 * is taken can be used.
 */
import assert from 'node:assert/strict';
import { formatAddress, formatRange, parseInterface } from '../../base/cidr.ts';
import { CniError } from '../../cni-plugin/cni-error.ts';
import { readList } from '../../cni-plugin/core/install-plan.ts';
import {
  checkContainerId,
  checkIfname,
  parseArgs,
  parseNetConf,
  parsePath,
} from '../../cni-plugin/schema.ts';
import { parseKubeconfig } from '../../controller/pods/core/kubeconfig.ts';
import { fuzz, fuzzSeconds } from '../support/fuzz.ts';
import { suite } from '../support/harness.ts';

const test = suite('fuzz: cni');
const seconds = fuzzSeconds(1);
const limitMs = seconds * 4_000 + 30_000;

/** The value, or null for what was refused as it should be. */
function taken<T>(run: () => T): T | null {
  try {
    return run();
  } catch (error) {
    if (error instanceof CniError) return null;
    throw error;
  }
}

test(
  'network configurations and CNI_ variables',
  async () => {
    await fuzz({ target: 'net-conf', seconds }, (input) => {
      const text = input.toString('utf8');
      const conf = taken(() => parseNetConf(text));
      if (conf !== null) {
        assert.ok(!/[/\s]|^\./.test(conf.name));
        assert.ok(!/[/\s]|^\./.test(conf.ipam?.type ?? 'x'));
      }
      const pod = taken(() => parseArgs(text));
      assert.ok(pod === null || pod.name.length <= 253);
      for (const folder of taken(() => parsePath(text)) ?? []) assert.ok(folder.startsWith('/'));
      taken(() => checkContainerId(text));
      taken(() => checkIfname(text));
      readList(text);
    });
  },
  limitMs,
);

test(
  'kubeconfig files: an https server and a credential, or an error',
  async () => {
    await fuzz({ target: 'kubeconfig', seconds }, (input) => {
      const access = parseKubeconfig(input.toString('utf8')); // throws EvioError, which is allowed
      assert.match(access.server, /^https:/);
      assert.ok(access.token !== null || access.certificate !== null);
    });
  },
  limitMs,
);

test(
  'addresses and ranges: what is read is printed so that it is read again',
  async () => {
    await fuzz({ target: 'net-conf', seconds }, (input) => {
      const found = parseInterface(input.toString('latin1').slice(0, 60));
      if (found === null) return;
      const again = parseInterface(`${formatAddress(found.address)}/${found.range.length}`);
      assert.deepEqual(again, found);
      assert.equal(formatRange(again?.range ?? found.range), formatRange(found.range));
    });
  },
  limitMs,
);
