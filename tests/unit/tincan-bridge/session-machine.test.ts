/**
 * The loop around the session machine: the order of inputs and effects, a defect in an effect, the end.
 */
import { strict as assert } from 'node:assert';
import { systemClock } from '../../../base/clock.ts';
import { NodeId } from '../../../base/ids.ts';
import { silentLogger } from '../../../base/log.ts';
import { type Effect, initialSession } from '../../../tincan-bridge/session/core/session-state.ts';
import { SessionMachine } from '../../../tincan-bridge/session/session-machine.ts';
import { suite } from '../../support/harness.ts';

const test = suite('session machine loop');
const peer = NodeId.parse('0b'.repeat(16));

/** A machine whose effects are written down; `run` may do more with each. */
function newMachine(run: (effect: Effect, machine: SessionMachine) => void = () => {}) {
  const life = new AbortController();
  const effects: string[] = [];
  const links: boolean[] = [];
  let number = 0;
  const machine: SessionMachine = new SessionMachine(
    {
      clock: systemClock,
      log: silentLogger,
      ring: { way: () => null },
      nextNumber: () => {
        number += 1;
        return number;
      },
      signal: life.signal,
      run: (effect) => {
        effects.push(effect.kind);
        run(effect, machine);
      },
      onState: () => {},
      onLink: (up) => void links.push(up),
    },
    initialSession(peer, systemClock.now()),
  );
  return { machine, life, effects, links };
}

test('an input that an effect causes comes after the other effects', () => {
  const { machine, effects } = newMachine((effect, self) => {
    if (effect.kind === 'start-ice') self.input({ kind: 'unwanted', reason: 'a test' });
  });
  machine.input({ kind: 'wanted' });
  assert.deepEqual(
    effects.filter((kind) => kind !== 'note'),
    ['start-ice', 'timer', 'timer', 'stop-ice'],
  );
  assert.equal(machine.state.setup.kind, 'none');
});

test('an effect that throws ends the session, which is tried anew; the others are carried out', () => {
  const { machine, effects } = newMachine((effect) => {
    if (effect.kind === 'start-ice') throw new Error('no socket');
  });
  machine.input({ kind: 'wanted' });
  assert.equal(machine.state.setup.kind, 'pause');
  assert.match(machine.state.lastError ?? '', /no socket/);
  assert.equal(effects.filter((kind) => kind === 'timer').length, 3);
  machine.input({ kind: 'network-changed' });
  assert.equal(machine.state.setup.kind, 'pause', 'it is still usable, and fails in order');
});

test('nothing is taken in after the end', () => {
  const { machine, life, effects, links } = newMachine();
  life.abort();
  machine.input({ kind: 'wanted' });
  assert.deepEqual(effects, []);
  machine.tellLink();
  assert.deepEqual(links, []);
  assert.equal(machine.number, null);
});
