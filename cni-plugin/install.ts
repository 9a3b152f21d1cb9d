/**
 * The files on a host by which container runtimes find us: the executable, then the configuration
 * list, each by rename and in that order, so that a list that is there works. Owns these two files;
 * never overwrites or removes one that is not ours.
 */
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { EvioError, messageOf } from '../base/errors.ts';
import { formatList, type ListOptions, pluginType, readList } from './core/install-plan.ts';

export interface Places {
  /** Where runtimes look for executables: /opt/cni/bin. */
  readonly binDirectory: string;
  /** Where they look for configurations: /etc/cni/net.d. */
  readonly confDirectory: string;
}

/** First in the alphabet counts, so that this one does beside those of other networks. */
const listName = '10-evio.conflist';
/** Words of our executable: by them it is known. */
const marker = 'evio-cni is called by a container runtime, not by people';
/** Larger files are not ours. */
const maxBytes = 16 << 20;

/** What the build made, seen from `dist/cni-plugin`. */
const builtExecutable = join(
  import.meta.dirname,
  '..',
  '..',
  'cni-plugin',
  'shim',
  'build',
  pluginType,
);

export type FileState = 'absent' | 'ours' | 'outdated' | 'foreign';

export interface Installed {
  readonly executable: { readonly file: string; readonly state: FileState };
  readonly list: {
    readonly file: string;
    readonly state: FileState;
    readonly socket: string | null;
  };
}

export function inspect(places: Places, source = builtExecutable): Installed {
  const executable = join(places.binDirectory, pluginType);
  const list = join(places.confDirectory, listName);
  const text = readOrNull(list)?.toString('utf8') ?? null;
  const read = text === null ? null : readList(text);
  return {
    executable: { file: executable, state: executableState(executable, source) },
    list: {
      file: list,
      state: text === null ? 'absent' : read === null ? 'foreign' : 'ours',
      socket: read?.socket ?? null,
    },
  };
}

function executableState(file: string, source: string): FileState {
  const bytes = readOrNull(file);
  if (bytes === null) return 'absent';
  if (!bytes.includes(marker)) return 'foreign';
  return readOrNull(source)?.equals(bytes) === true ? 'ours' : 'outdated';
}

/** Puts the executable in its place; a runtime that calls it meanwhile runs the old or the new one. */
export function installExecutable(places: Places, source = builtExecutable): void {
  const { executable } = inspect(places, source);
  refuseForeign(executable.state, executable.file);
  if (executable.state === 'ours') return;
  if (!existsSync(source)) {
    throw new EvioError('runtime.unsupported', `${source} is not built: run npm run build`);
  }
  mkdirSync(places.binDirectory, { recursive: true });
  change(executable.file, () => {
    const fresh = `${executable.file}.new`;
    copyFileSync(source, fresh);
    chmodSync(fresh, 0o755);
    renameSync(fresh, executable.file);
  });
}

/** Writes the list, which tells runtimes that the network is there. */
export function installList(places: Places, options: ListOptions): void {
  const { list } = inspect(places);
  refuseForeign(list.state, list.file);
  mkdirSync(places.confDirectory, { recursive: true });
  change(list.file, () => {
    // A name that runtimes do not read, in the same folder: rename then is one step.
    const fresh = join(places.confDirectory, `.${listName}.new`);
    writeFileSync(fresh, formatList(options), { mode: 0o600 });
    renameSync(fresh, list.file);
  });
}

/** Those of the usual plugins that are on this host, in the order of a chain. */
export const usualChain = ({ binDirectory }: Places): readonly string[] =>
  ['portmap', 'bandwidth'].filter((type) => existsSync(join(binDirectory, type)));

/** The list goes first. Returns the files that were removed; what is not ours stays. */
export function uninstall(places: Places): readonly string[] {
  const { executable, list } = inspect(places);
  const own = [list, executable].filter(({ state }) => state === 'ours' || state === 'outdated');
  for (const { file } of own) change(file, () => rmSync(file));
  return own.map(({ file }) => file);
}

function refuseForeign(state: FileState, file: string): void {
  if (state !== 'foreign') return;
  throw new EvioError('cni.foreign-file', `${file} exists and was not made by evio`);
}

function change(file: string, work: () => void): void {
  try {
    work();
  } catch (error) {
    throw new EvioError('host.command-failed', `${file}: ${messageOf(error)}`, { cause: error });
  }
}

function readOrNull(file: string): Buffer | null {
  try {
    const bytes = readFileSync(file);
    return bytes.length > maxBytes ? Buffer.alloc(0) : bytes;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    throw new EvioError('host.command-failed', `${file}: ${messageOf(error)}`, { cause: error });
  }
}
