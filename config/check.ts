/**
 * Everything that is wrong with the text of a configuration, each with its line. Owns how a finding
 * is worded; touches nothing but the text, and never prints a password.
 */
import { z } from 'zod';
import { type JsonPath, type JsonText, type Place, parseJsonText } from './core/json-text.ts';
import { nearest } from './core/nearest.ts';
import { at, checkRules } from './core/rules.ts';
import { whyNotRead } from './evio-keys.ts';
import { ConfigFile } from './schema.ts';

export interface Finding {
  readonly severity: 'error' | 'warning';
  /** `Signal.Overlays.farm.Port`; empty for the file as a whole. */
  readonly path: string;
  readonly line: number;
  readonly column: number;
  /** The value as JSON, shortened; null for one that is missing or secret, or a key. */
  readonly found: string | null;
  /** What is wrong and what is allowed. */
  readonly message: string;
}

export interface CheckedText {
  /** In the order of the lines; all errors, not only the first. */
  readonly findings: readonly Finding[];
  /** Null when there is an error. */
  readonly file: ConfigFile | null;
  readonly json: JsonText;
}

export function checkText(text: string): CheckedText {
  const json = parseJsonText(text);
  if (json.syntaxError !== null) {
    const { place, message } = json.syntaxError;
    return { findings: [finding([], place, null, message)], file: null, json };
  }
  const parsed = ConfigFile.safeParse(json.value);
  const findings = [
    ...json.repeated.map(({ path, place }) => finding(path, place, null, 'key stands twice')),
    ...(parsed.error?.issues ?? []).flatMap((issue) => fromIssue(issue, json)),
    ...checkRules(json.value).map(({ path, message, atKey }) =>
      atKey === true
        ? finding(path, json.placeOfKey(path), null, message)
        : wrongValue(json, path, message),
    ),
  ].sort((a, b) => a.line - b.line || a.column - b.column);
  const file = findings.length === 0 && parsed.success ? parsed.data : null;
  return { findings, file, json };
}

/** `FILE:LINE:COLUMN: error: PATH is FOUND: MESSAGE`, as compilers and editors write it. */
export function formatFinding(file: string, finding: Finding): string {
  const what = finding.found === null ? '' : ` is ${finding.found}`;
  const subject = finding.path === '' ? '' : `${finding.path}${what}: `;
  const where = `${file}:${finding.line}:${finding.column}`;
  return `${where}: ${finding.severity}: ${subject}${finding.message}`;
}

/** A finding about the value at a path. */
export function wrongValue(
  json: JsonText,
  path: JsonPath,
  message: string,
  severity: Finding['severity'] = 'error',
): Finding {
  return finding(path, json.placeOfValue(path), show(json, path), message, severity);
}

function finding(
  path: JsonPath,
  place: Place,
  found: string | null,
  message: string,
  severity: Finding['severity'] = 'error',
): Finding {
  return { severity, path: formatPath(path), ...place, found, message };
}

/** `Signal.Overlays.farm.Port`, `LinkManager.Turn[0]`; unusual keys are quoted. */
export function formatPath(path: JsonPath): string {
  let text = '';
  for (const part of path) {
    if (typeof part === 'number') text += `[${part}]`;
    else if (/^[$A-Za-z0-9_-]{1,64}$/.test(part)) text += text === '' ? part : `.${part}`;
    else text += `[${shorten(JSON.stringify(part))}]`;
  }
  return text;
}

/** The value as JSON when it is a short scalar. Passwords are never shown. */
function show(json: JsonText, path: JsonPath): string | null {
  const value = at(json.value, path);
  if (path.includes('Password')) return null;
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object' && value !== null) return null;
  return value === undefined ? null : shorten(JSON.stringify(value));
}

const shorten = (text: string): string => (text.length <= 60 ? text : `${text.slice(0, 57)}…`);

function fromIssue(issue: z.core.$ZodIssue, json: JsonText): Finding[] {
  const path = issue.path.map((part) => (typeof part === 'number' ? part : String(part)));
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => {
      const inner = [...path, key];
      return finding(inner, json.placeOfKey(inner), null, unknownKey(path, key));
    });
  }
  if (issue.code === 'invalid_key') {
    const message = issue.issues[0]?.message ?? issue.message;
    return [finding(path, json.placeOfKey(path), null, message)];
  }
  const parent = path.slice(0, -1);
  if (path.length > 0 && at(json.value, path) === undefined) {
    return [finding(path, json.placeOfKey(parent), null, 'is missing')];
  }
  return [wrongValue(json, path, allowed(issue))];
}

function unknownKey(parent: JsonPath, key: string): string {
  const evio = whyNotRead([...parent, key]);
  if (evio !== null) return evio;
  const known = knownKeys(parent);
  const near = nearest(key, known);
  if (near !== null) return `unknown key; did you mean ${JSON.stringify(near)}?`;
  const list = known.length === 0 ? 'none' : known.join(', ');
  return `unknown key; known here: ${list}`;
}

/** What the schema allows, in words: zod's own messages speak of types of JavaScript. */
function allowed(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return `must be ${words[issue.expected] ?? `of type ${issue.expected}`}`;
    case 'invalid_value':
      return issue.message.startsWith('must ')
        ? issue.message
        : `must be ${issue.values.map((value) => JSON.stringify(value)).join(', ')}`.replace(
            /, ([^,]*)$/,
            ' or $1',
          );
    case 'too_small':
      return `must ${sizes[issue.origin] ?? 'be'} at least ${issue.minimum}${units(issue.origin)}`;
    case 'too_big':
      return `must ${sizes[issue.origin] ?? 'be'} at most ${issue.maximum}${units(issue.origin)}`;
    default:
      return issue.message;
  }
}

const words: Readonly<Record<string, string>> = {
  string: 'a text',
  int: 'a whole number',
  number: 'a number',
  boolean: 'true or false',
  array: 'an array',
  object: 'an object',
  record: 'an object',
};
const sizes: Readonly<Record<string, string>> = { string: 'have', array: 'have' };
const units = (origin: string): string =>
  origin === 'string' ? ' characters' : origin === 'array' ? ' entries' : '';

/** The part of a JSON Schema that says which keys an object has. */
const Node = z.object({
  properties: z.record(z.string(), z.unknown()).optional(),
  additionalProperties: z.unknown().optional(),
  items: z.unknown().optional(),
});

/** The keys that the schema knows at a path. */
function knownKeys(path: JsonPath): readonly string[] {
  let here: unknown = z.toJSONSchema(ConfigFile, { io: 'input' });
  for (const part of path) {
    const node = Node.safeParse(here).data;
    here =
      typeof part === 'number'
        ? node?.items
        : (node?.properties?.[part] ?? node?.additionalProperties);
  }
  return Object.keys(Node.safeParse(here).data?.properties ?? {}).filter(
    (key) => key !== '$schema',
  );
}
