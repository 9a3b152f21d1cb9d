/**
 * Who has which address: one small file per attachment, written before the kernel is touched and
 * removed after it was cleaned. Owns the folder and the choice of addresses; what is not in a file
 * is free, so nothing can leak but a file, and reconciliation finds those.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { formatAddress, type Range } from '../base/cidr.ts';
import { messageOf } from '../base/errors.ts';
import { OverlayId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import { CniError } from './cni-error.ts';
import { nextFree } from './core/addresses.ts';

const PodAddress = z.strictObject({ address: z.string(), gateway: z.string() });

/** One attachment of one container, as it is on disk. */
export const AttachmentRecord = z.strictObject({
  version: z.literal(1),
  /** SHA-256 over network, container and interface: the name of the file. */
  key: z.string().regex(/^[0-9a-f]{64}$/),
  /** `adding` until ADD has answered: what is found so after a crash is taken back. */
  state: z.enum(['adding', 'ready']),
  /** Of the kernel (random/boot_id): another one means that no namespace of before lives. */
  bootId: z.string(),
  network: z.string(),
  overlay: OverlayId,
  containerId: z.string(),
  ifname: z.string(),
  netns: z.string(),
  hostInterface: z.string(),
  mac: z.string(),
  mtu: z.int(),
  bridge: z.string(),
  addresses: z.array(PodAddress).max(64),
  /** How to free the addresses of another plugin. */
  delegated: z.strictObject({ type: z.string(), config: z.string(), path: z.string() }).nullable(),
  pod: z.strictObject({ namespace: z.string(), name: z.string(), uid: z.string() }).nullable(),
  addedAtMs: z.number(),
});
export type AttachmentRecord = z.infer<typeof AttachmentRecord>;

/** Larger files are not ours. */
const maxRecordBytes = 2 << 20;

export class AttachmentStore {
  readonly #folder: string;
  readonly #log: Logger;
  readonly #records = new Map<string, AttachmentRecord>();
  /** Addresses that a record has, without length. */
  readonly #used = new Map<string, string>();
  /** The address given last, by range: the next one is looked for behind it. */
  readonly #last = new Map<string, bigint>();

  /** Reads what is there. A file that cannot be read is set aside and named in the log. */
  constructor(folder: string, log: Logger) {
    this.#folder = folder;
    this.#log = log;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    for (const name of readdirSync(folder)) {
      if (name.endsWith('.json')) this.#load(name);
      else if (name.endsWith('.new')) rmSync(join(folder, name), { force: true });
    }
  }

  #load(name: string): void {
    const file = join(this.#folder, name);
    try {
      const text = readFileSync(file, 'utf8');
      if (text.length > maxRecordBytes) throw new Error('it is too large');
      const record = AttachmentRecord.parse(JSON.parse(text));
      if (name !== `${record.key}.json`) throw new Error('it is of another attachment');
      this.#keep(record);
    } catch (error) {
      this.#log.error('attachment cannot be read', { file, error: messageOf(error) });
      renameSync(file, `${file}.unreadable`);
    }
  }

  get(key: string): AttachmentRecord | undefined {
    return this.#records.get(key);
  }

  list(): readonly AttachmentRecord[] {
    return [...this.#records.values()];
  }

  /** One free address of each range, for a record that is put in the same turn. */
  choose(ranges: readonly Range[]): readonly string[] {
    return ranges.map((range) => {
      const place = `${range.family} ${range.first}`;
      const free = nextFree(range, this.#used, this.#last.get(place) ?? null);
      if (free === null) {
        const first = formatAddress({ family: range.family, bits: range.first });
        throw new CniError('addresses-exhausted', `no address is free in ${first}/${range.length}`);
      }
      this.#last.set(place, free.bits);
      return formatAddress(free);
    });
  }

  /** Whether each range has an address left. */
  hasFree(ranges: readonly Range[]): boolean {
    return ranges.every((range) => nextFree(range, this.#used, null) !== null);
  }

  /** On disk when it returns; a crash leaves the file of before or this one. */
  put(record: AttachmentRecord): void {
    const file = join(this.#folder, `${record.key}.json`);
    // Not synced to the medium: after a power failure no container of before lives anyway.
    writeFileSync(`${file}.new`, JSON.stringify(record), { mode: 0o600 });
    renameSync(`${file}.new`, file);
    this.#forget(record.key);
    this.#keep(record);
  }

  /** No error when there is none. */
  remove(key: string): void {
    rmSync(join(this.#folder, `${key}.json`), { force: true });
    this.#forget(key);
  }

  #keep(record: AttachmentRecord): void {
    this.#records.set(record.key, record);
    for (const { address } of record.addresses) this.#used.set(bare(address), record.key);
  }

  #forget(key: string): void {
    for (const { address } of this.#records.get(key)?.addresses ?? []) {
      if (this.#used.get(bare(address)) === key) this.#used.delete(bare(address));
    }
    this.#records.delete(key);
  }
}

const bare = (address: string): string => address.replace(/\/.*$/, '');
