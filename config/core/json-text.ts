/**
 * JSON (RFC 8259) with the place of every key and value, so that an error can name its line. Owns
 * syntax errors and repeated keys; never says what a value means.
 */

/** Counted from 1; columns in UTF-16 code units, as editors count. */
export interface Place {
  readonly line: number;
  readonly column: number;
}
export type JsonPath = readonly (string | number)[];

export interface JsonText {
  /** Undefined when there is a syntax error. */
  readonly value: unknown;
  readonly syntaxError: { readonly place: Place; readonly message: string } | null;
  /** Keys that stand twice in one object: JSON.parse would silently take the last. */
  readonly repeated: readonly { readonly path: JsonPath; readonly place: Place }[];
  /** Where the key stands (for an element of an array: the value), or its nearest parent. */
  placeOfKey(path: JsonPath): Place;
  /** Where the value stands, or its nearest parent. */
  placeOfValue(path: JsonPath): Place;
}

/** Deeper nesting is refused: the scanner recurses. */
const maxDepth = 64;
/** Longer keys are refused: each place is kept under its whole path. */
const maxKeyChars = 256;

export function parseJsonText(text: string): JsonText {
  const scanner = new Scanner(text);
  const keys = new Map<string, number>();
  const values = new Map<string, number>();
  const repeated: { path: JsonPath; at: number }[] = [];
  let syntaxError: JsonText['syntaxError'] = null;
  let value: unknown;
  try {
    scanValue(scanner, [], { keys, values, repeated });
    scanner.expectEnd();
    value = JSON.parse(text);
  } catch (error) {
    if (!(error instanceof SyntaxProblem || error instanceof SyntaxError)) throw error;
    const at = error instanceof SyntaxProblem ? error.at : text.length;
    syntaxError = { place: placeAt(text, at), message: error.message };
  }
  const find = (map: Map<string, number>, path: JsonPath): Place => {
    for (let length = path.length; length > 0; length -= 1) {
      const at = map.get(keyOf(path.slice(0, length)));
      if (at !== undefined) return placeAt(text, at);
    }
    return placeAt(text, 0);
  };
  return {
    value,
    syntaxError,
    repeated: repeated.map(({ path, at }) => ({ path, place: placeAt(text, at) })),
    placeOfKey: (path) => find(keys, path),
    placeOfValue: (path) => find(values, path),
  };
}

interface Places {
  readonly keys: Map<string, number>;
  readonly values: Map<string, number>;
  readonly repeated: { path: JsonPath; at: number }[];
}

const keyOf = (path: JsonPath): string => JSON.stringify(path);

function placeAt(text: string, at: number): Place {
  const before = text.slice(0, at);
  const start = before.lastIndexOf('\n') + 1;
  return { line: before.split('\n').length, column: at - start + 1 };
}

/** A syntax error at an offset; never leaves this file. */
class SyntaxProblem extends Error {
  readonly at: number;
  constructor(at: number, message: string) {
    super(message);
    this.at = at;
  }
}

function scanValue(scanner: Scanner, path: JsonPath, places: Places): void {
  scanner.skipSpace();
  places.values.set(keyOf(path), scanner.at);
  if (!places.keys.has(keyOf(path))) places.keys.set(keyOf(path), scanner.at);
  if (path.length > maxDepth) throw scanner.problem(`nested deeper than ${maxDepth}`);
  if (scanner.take('{')) scanObject(scanner, path, places);
  else if (scanner.take('[')) scanArray(scanner, path, places);
  else scanner.scalar();
}

function scanObject(scanner: Scanner, path: JsonPath, places: Places): void {
  scanner.skipSpace();
  if (scanner.take('}')) return;
  const seen = new Set<string>();
  for (;;) {
    scanner.skipSpace();
    const at = scanner.at;
    if (scanner.peek() === '}') throw scanner.problem('a comma before "}" is not allowed');
    const key = scanner.string('a key in double quotes');
    if (key.length > maxKeyChars) throw scanner.problem(`a key longer than ${maxKeyChars}`);
    const inner = [...path, key];
    if (seen.has(key)) places.repeated.push({ path: inner, at });
    seen.add(key);
    places.keys.set(keyOf(inner), at);
    scanner.skipSpace();
    if (!scanner.take(':')) throw scanner.unexpected('":" after the key');
    scanValue(scanner, inner, places);
    scanner.skipSpace();
    if (scanner.take('}')) return;
    if (!scanner.take(',')) throw scanner.unexpected('"," or "}"');
  }
}

function scanArray(scanner: Scanner, path: JsonPath, places: Places): void {
  scanner.skipSpace();
  if (scanner.take(']')) return;
  for (let index = 0; ; index += 1) {
    scanner.skipSpace();
    if (scanner.peek() === ']') throw scanner.problem('a comma before "]" is not allowed');
    scanValue(scanner, [...path, index], places);
    scanner.skipSpace();
    if (scanner.take(']')) return;
    if (!scanner.take(',')) throw scanner.unexpected('"," or "]"');
  }
}

/** Walks over the text; each method leaves `at` behind what it took. */
class Scanner {
  at = 0;
  readonly #text: string;
  constructor(text: string) {
    this.#text = text;
  }

  peek(): string {
    return this.#text.charAt(this.at);
  }

  take(char: string): boolean {
    if (this.peek() !== char) return false;
    this.at += 1;
    return true;
  }

  skipSpace(): void {
    this.#match(/[ \t\r\n]*/y);
    if (/^\/[/*]/.test(this.#text.slice(this.at, this.at + 2))) {
      throw this.problem('comments are not allowed in JSON');
    }
  }

  expectEnd(): void {
    this.skipSpace();
    if (this.at < this.#text.length) throw this.unexpected('the end of the file');
  }

  string(expected: string): string {
    const start = this.at;
    if (this.peek() !== '"') throw this.unexpected(expected);
    const quoted = this.#match(
      // biome-ignore lint/suspicious/noControlCharactersInRegex: JSON forbids them in strings
      /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))*"/y,
    );
    if (quoted !== null) return String(JSON.parse(quoted));
    this.at = start;
    throw this.problem('this string does not end on its line, or has a wrong "\\" in it');
  }

  scalar(): void {
    if (this.peek() === '"') {
      this.string('a value');
      return;
    }
    const start = this.at;
    const word = this.#match(/[A-Za-z0-9+.-]+/y) ?? '';
    if (/^(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)$/.test(word)) return;
    this.at = start;
    // The word is not shown: it may be a password that lacks its quotes.
    throw word === ''
      ? this.unexpected('a value')
      : this.problem('not a JSON value: texts need double quotes');
  }

  unexpected(expected: string): SyntaxProblem {
    const found = this.at < this.#text.length ? JSON.stringify(this.peek()) : 'the end of the file';
    return this.problem(`expected ${expected}, found ${found}`);
  }

  problem(message: string): SyntaxProblem {
    return new SyntaxProblem(this.at, message);
  }

  #match(sticky: RegExp): string | null {
    sticky.lastIndex = this.at;
    const found = sticky.exec(this.#text)?.[0] ?? null;
    if (found !== null) this.at += found.length;
    return found;
  }
}
