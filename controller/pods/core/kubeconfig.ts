/**
 * A kubeconfig file: which API server, which CA, which credential. Owns the part of YAML that such
 * files are written in (block mappings and lists, plain and quoted scalars; JSON too); what it does
 * not know it refuses, with the line.
 */
import { z } from 'zod';
import { EvioError } from '../../../base/errors.ts';

export interface KubeAccess {
  /** `https://host:port` */
  readonly server: string;
  readonly tlsServerName: string | null;
  /** A file, or the PEM itself; null: the CAs of the system. */
  readonly ca: Material | null;
  readonly token: Material | null;
  readonly certificate: Material | null;
  readonly key: Material | null;
}

export type Material =
  | { readonly kind: 'file'; readonly path: string }
  /** Base64 of the content, or the content. */
  | { readonly kind: 'base64' | 'text'; readonly value: string };

const named = <T extends z.ZodRawShape>(key: string, shape: T) =>
  z.array(z.looseObject({ name: z.string(), [key]: z.looseObject(shape) })).max(1_000);
const text = z.string().max(65_536).optional();
const KubeConfig = z.looseObject({
  'current-context': z.string(),
  clusters: named('cluster', {}),
  contexts: named('context', {}),
  users: named('user', {}),
});
const Cluster = z.looseObject({
  server: z.string().regex(/^https:\/\//, 'must begin with https://'),
  'certificate-authority': text,
  'certificate-authority-data': text,
  'tls-server-name': text,
});
const Context = z.looseObject({ cluster: z.string(), user: z.string() });
const User = z.looseObject({
  token: text,
  tokenFile: text,
  'client-certificate': text,
  'client-certificate-data': text,
  'client-key': text,
  'client-key-data': text,
});

/** Throws `config.invalid`. Relative file names are left to the caller. */
export function parseKubeconfig(source: string): KubeAccess {
  try {
    const file = KubeConfig.parse(parseYaml(source));
    const pick = (list: readonly object[], key: string, name: string): unknown => {
      const entry = list.find((each) => Reflect.get(each, 'name') === name);
      if (entry === undefined) throw new Error(`no ${key} has the name "${name}"`);
      return Reflect.get(entry, key);
    };
    const context = Context.parse(pick(file.contexts, 'context', file['current-context']));
    const cluster = Cluster.parse(pick(file.clusters, 'cluster', context.cluster));
    const user = User.parse(pick(file.users, 'user', context.user));
    const material = (path: string | undefined, data: string | undefined): Material | null => {
      if (data !== undefined) return { kind: 'base64', value: data };
      return path === undefined ? null : { kind: 'file', path };
    };
    const access = {
      server: cluster.server,
      tlsServerName: cluster['tls-server-name'] ?? null,
      ca: material(cluster['certificate-authority'], cluster['certificate-authority-data']),
      token:
        user.token === undefined
          ? material(user.tokenFile, undefined)
          : ({ kind: 'text', value: user.token } as const),
      certificate: material(user['client-certificate'], user['client-certificate-data']),
      key: material(user['client-key'], user['client-key-data']),
    };
    if (access.token === null && access.certificate === null) {
      throw new Error(`user "${context.user}" has neither a token nor a client certificate`);
    }
    return access;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new EvioError('config.invalid', `kubeconfig: ${why}`, { cause: error });
  }
}

interface Line {
  readonly indent: number;
  readonly text: string;
  readonly number: number;
}

/** The value of a document. Throws with the line that is not understood. */
export function parseYaml(source: string): unknown {
  if (/^\s*\{/.test(source)) return JSON.parse(source);
  const lines = source
    .split(/\r?\n/)
    .map((raw, index): Line => {
      const text = raw.replace(/^(\s*)#.*$/, '$1').trimEnd();
      return {
        indent: text.length - text.trimStart().length,
        text: text.trim(),
        number: index + 1,
      };
    })
    .filter(({ text }) => text !== '' && text !== '---');
  const { value, next } = parseBlock(lines, 0, lines[0]?.indent ?? 0);
  const rest = lines[next];
  if (rest !== undefined) throw new Error(`line ${rest.number} is not understood`);
  return value;
}

interface Parsed {
  readonly value: unknown;
  /** Index of the first line after it. */
  readonly next: number;
}

const isItem = (text: string): boolean => text === '-' || text.startsWith('- ');

function parseBlock(lines: readonly Line[], start: number, indent: number): Parsed {
  const first = lines[start];
  if (first === undefined || first.indent < indent) return { value: null, next: start };
  return isItem(first.text)
    ? parseList(lines, start, first.indent)
    : parseMapping(lines, start, first.indent);
}

function parseList(lines: readonly Line[], start: number, indent: number): Parsed {
  const items: unknown[] = [];
  let at = start;
  for (
    let line = lines[at];
    line !== undefined && line.indent === indent && isItem(line.text);
    line = lines[at]
  ) {
    const rest = line.text.slice(1).trimStart();
    if (rest === '') {
      const inner = parseBlock(lines, at + 1, indent + 1);
      items.push(inner.value);
      at = inner.next;
    } else if (/^[^"'\s][^:]*:(\s|$)/.test(rest)) {
      // "- key: value": the mapping stands where its first key does.
      const inside = indent + line.text.length - rest.length;
      const patched = [...lines];
      patched[at] = { ...line, indent: inside, text: rest };
      const inner = parseMapping(patched, at, inside);
      items.push(inner.value);
      at = inner.next;
    } else {
      items.push(parseScalar(rest, line.number));
      at += 1;
    }
  }
  return { value: items, next: at };
}

function parseMapping(lines: readonly Line[], start: number, indent: number): Parsed {
  const entries: [string, unknown][] = [];
  let at = start;
  for (
    let line = lines[at];
    line !== undefined && line.indent === indent && !isItem(line.text);
    line = lines[at]
  ) {
    const match = /^("[^"]*"|'[^']*'|[^\s"':{}[\]&*!|>%@`][^:]*)\s*:(?:\s+(.*))?$/.exec(line.text);
    if (match === null) throw new Error(`line ${line.number} is not understood`);
    const key = (match[1] ?? '').replace(/^(["'])(.*)\1$/, '$2').trim();
    const rest = match[2] ?? '';
    if (rest === '') {
      // A list may stand as far left as its key.
      const below = lines[at + 1];
      const listHere = below !== undefined && below.indent === indent && isItem(below.text);
      const inner = parseBlock(lines, at + 1, listHere ? indent : indent + 1);
      entries.push([key, inner.value]);
      at = inner.next;
    } else {
      entries.push([key, parseScalar(rest, line.number)]);
      at += 1;
    }
  }
  return { value: Object.fromEntries(entries), next: at };
}

function parseScalar(text: string, line: number): unknown {
  if (/^\{\s*\}$/.test(text)) return {};
  if (/^\[\s*\]$/.test(text)) return [];
  if (/^"/.test(text)) {
    const match = /^("(?:[^"\\]|\\.)*")\s*(?:#.*)?$/.exec(text);
    if (match !== null) return JSON.parse(match[1] ?? '""');
  } else if (/^'/.test(text)) {
    const match = /^'((?:[^']|'')*)'\s*(?:#.*)?$/.exec(text);
    if (match !== null) return (match[1] ?? '').replaceAll("''", "'");
  } else if (!/^[{[&*!|>%@`]/.test(text)) {
    const plain = text.replace(/\s+#.*$/, '');
    if (plain === 'true' || plain === 'false') return plain === 'true';
    return plain === 'null' || plain === '~' ? null : plain;
  }
  throw new Error(`line ${line} is not understood`);
}
