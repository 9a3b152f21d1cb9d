/**
 * Stanzas as plain data, and how to read them safely. Owns the shape that the whole module uses
 * instead of a library's elements; never parses or prints XML.
 */

/** An XML element. Text is that of the element's own text nodes, joined. */
export interface Stanza {
  readonly name: string;
  /** Namespace after inheritance. */
  readonly namespace: string;
  readonly attributes: ReadonlyMap<string, string>;
  readonly children: readonly Stanza[];
  readonly text: string;
}

/** Children and text to build an element of; `namespace` null inherits that of the parent. */
export function element(
  name: string,
  namespace: string,
  attributes: Readonly<Record<string, string>> = {},
  ...content: readonly (Stanza | string)[]
): Stanza {
  const isText = (c: Stanza | string): c is string => typeof c === 'string';
  return {
    name,
    namespace,
    attributes: new Map(Object.entries(attributes)),
    children: content.filter((c): c is Stanza => !isText(c)),
    text: content.filter(isText).join(''),
  };
}

export const clientNamespace = 'jabber:client';

/** Namespace of our own elements in presence and messages. */
export const evioNamespace = 'urn:evio:1';

/** The first child of that name and namespace. */
export const childOf = (stanza: Stanza, name: string, namespace: string): Stanza | null =>
  stanza.children.find((c) => c.name === name && c.namespace === namespace) ?? null;

export const attributeOf = (stanza: Stanza, name: string): string | null =>
  stanza.attributes.get(name) ?? null;

/** The condition of an error or failure element: the name of its first child, without the text. */
export const conditionOf = (stanza: Stanza): string =>
  stanza.children.find((c) => c.name !== 'text')?.name.slice(0, 80) ?? 'no condition given';

/** The human text of an error or failure element, cut to a length fit for a log line. */
export const errorTextOf = (stanza: Stanza): string =>
  printable(stanza.children.find((c) => c.name === 'text')?.text ?? '');

/** What a stranger wrote, fit for one log line: no control characters, not long. */
export const printable = (text: string): string =>
  text
    .replace(/[^\x20-\x7e]+/g, ' ')
    .trim()
    .slice(0, 200);
