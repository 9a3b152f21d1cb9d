/**
 * A zod schema as short text for people, in TypeScript's notation where there is no better word.
 * Owns the wording of types in the reference pages.
 */
import { z } from 'zod';

const Schema = z.object({
  type: z.string().optional(),
  const: z.unknown().optional(),
  enum: z.array(z.unknown()).optional(),
  anyOf: z.array(z.unknown()).optional(),
  oneOf: z.array(z.unknown()).optional(),
  allOf: z.array(z.unknown()).optional(),
  items: z.unknown().optional(),
  properties: z.record(z.string(), z.unknown()).optional(),
  required: z.array(z.string()).optional(),
  additionalProperties: z.unknown().optional(),
  minimum: z.number().optional(),
  maximum: z.number().optional(),
  maxLength: z.number().optional(),
  maxItems: z.number().optional(),
  description: z.string().optional(),
  default: z.unknown().optional(),
});
export type JsonSchema = z.infer<typeof Schema>;

/** zod writes a nullable as a list of types; here it is a choice like every other. */
export function asSchema(value: unknown): JsonSchema {
  const several = z.looseObject({ type: z.array(z.string()) }).safeParse(value).data;
  if (several === undefined) return Schema.parse(value);
  const { type, description, default: fallback, ...rest } = several;
  const anyOf = type.map((each) => (each === 'null' ? { type: each } : { ...rest, type: each }));
  return Schema.parse({ anyOf, description, default: fallback });
}

export const jsonSchemaOf = (schema: z.ZodType): JsonSchema =>
  asSchema(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }));

/** `text`, `1 to 65535`, `"a" or "b"`, `list of text`: for tables. */
export function typeWords(schema: JsonSchema): string {
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices !== undefined) return choices.map((c) => typeWords(asSchema(c))).join(' or ');
  if (schema.const !== undefined) return `\`${JSON.stringify(schema.const)}\``;
  if (schema.enum !== undefined) {
    return schema.enum.map((value) => `\`${JSON.stringify(value)}\``).join(' or ');
  }
  switch (schema.type) {
    case 'string':
      return 'text';
    case 'boolean':
      return '`true` or `false`';
    case 'integer':
    case 'number':
      return `${schema.type === 'integer' ? 'whole number' : 'number'}${rangeWords(schema)}`;
    case 'array':
      return `list of ${typeWords(asSchema(schema.items ?? {}))}`;
    case 'null':
      return '`null`';
    default:
      return schema.type ?? 'any';
  }
}

function rangeWords({ minimum, maximum }: JsonSchema): string {
  // zod gives integers the bounds of safe ones
  const from = minimum !== undefined && minimum > Number.MIN_SAFE_INTEGER ? minimum : null;
  const to = maximum !== undefined && maximum < Number.MAX_SAFE_INTEGER ? maximum : null;
  if (from !== null && to !== null) return `, ${from} to ${to}`;
  if (from !== null) return ` ≥ ${from}`;
  return to === null ? '' : ` ≤ ${to}`;
}

/** The schema as a block of lines, one member a line, bounds as comments. */
export function typeBlock(schema: JsonSchema, indent = ''): string {
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices !== undefined) {
    const texts = choices.map((choice) => typeBlock(asSchema(choice), indent));
    return texts.some((text) => text.includes('\n'))
      ? texts.map((text) => `\n${indent}| ${text}`).join('')
      : texts.join(' | ');
  }
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum !== undefined) return schema.enum.map((v) => JSON.stringify(v)).join(' | ');
  if (schema.type === 'array') return arrayBlock(schema, indent);
  if (schema.type === 'object') return objectBlock(schema, indent);
  if (schema.type === 'string') {
    return schema.maxLength === undefined ? 'string' : `string /* ≤ ${schema.maxLength} */`;
  }
  if (schema.type === 'integer' || schema.type === 'number') {
    const range = rangeWords(schema).replace(/^, /, '').trim();
    return range === '' ? schema.type : `${schema.type} /* ${range} */`;
  }
  return schema.type ?? 'unknown';
}

function arrayBlock(schema: JsonSchema, indent: string): string {
  const items = typeBlock(asSchema(schema.items ?? {}), indent);
  const most = schema.maxItems === undefined ? '' : ` /* ≤ ${schema.maxItems} */`;
  return `Array<${items}>${most}`;
}

function objectBlock(schema: JsonSchema, indent: string): string {
  const members = Object.entries(schema.properties ?? {});
  if (members.length === 0) {
    const values = Schema.safeParse(schema.additionalProperties);
    return values.success ? `{ [name: string]: ${typeBlock(values.data, indent)} }` : '{}';
  }
  const inner = `${indent}  `;
  const lines = members.map(([name, member]) => {
    const mark = schema.required?.includes(name) === true ? '' : '?';
    return `${inner}${name}${mark}: ${typeBlock(asSchema(member), inner)}`;
  });
  return `{\n${lines.join('\n')}\n${indent}}`;
}
