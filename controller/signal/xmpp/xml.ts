/**
 * Stanzas to and from the elements of xmpp.js's parser. Owns the translation and how deep it goes.
 */
import { type XmlElement, xml } from '@xmpp/client-core';
import { clientNamespace, type Stanza } from '../core/stanza.ts';

/** Deeper trees are cut: nothing we read is. */
const maxDepth = 8;

export const isXml = (stanza: XmlElement | Stanza): stanza is XmlElement => 'getName' in stanza;

export function toXml(stanza: Stanza, parentNamespace = clientNamespace): XmlElement {
  const attributes = Object.fromEntries(stanza.attributes);
  const own = stanza.namespace === parentNamespace ? {} : { xmlns: stanza.namespace };
  return xml(
    stanza.name,
    { ...own, ...attributes },
    ...stanza.children.map((c) => toXml(c, stanza.namespace)),
    ...(stanza.text === '' ? [] : [stanza.text]),
  );
}

export function fromXml(source: XmlElement, depth: number): Stanza {
  const children: Stanza[] = [];
  let text = '';
  for (const child of source.children) {
    if (typeof child === 'string') text += child;
    else if (depth < maxDepth) children.push(fromXml(child, depth + 1));
  }
  const attributes = new Map<string, string>();
  for (const [name, value] of Object.entries(source.attrs)) {
    if (typeof value === 'string') attributes.set(name, value);
  }
  return { name: source.getName(), namespace: source.getNS() ?? '', attributes, children, text };
}
