/**
 * Every generated file of the repository, as a map from path to text. Owns which pages there are;
 * writes nothing.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { z } from 'zod';
import { errorTable } from '../../base/errors.ts';
import * as localApi from '../../controller/local-api/schema.ts';
import * as peer from '../../controller/peer-messages.ts';
import * as bridge from '../../tincan-bridge/protocol/schema.ts';
import { configJsonSchema, configPage, table } from './config-page.ts';
import { docAbove, membersOf } from './source-members.ts';
import { jsonSchemaOf, typeBlock } from './type-text.ts';

/** The repository, seen from `dist/tests/reference`. */
export const repositoryRoot = join(import.meta.dirname, '..', '..', '..');

const source = (path: string): string => readFileSync(join(repositoryRoot, path), 'utf8');
const code = (text: string): string => `\`\`\`ts\n${text}\n\`\`\``;

/** Path in the repository → text. */
export function generatedFiles(): ReadonlyMap<string, string> {
  const page = (text: string, from: string): string =>
    `<!-- Generated from ${from} by \`npm run docs\`. Do not edit. -->\n\n${text}\n`;
  return new Map([
    ['config/evio.schema.json', configJsonSchema()],
    ['docs/reference/config.md', page(configPage(), 'config/schema.ts')],
    ['docs/reference/events.md', page(eventsPage(), 'controller/events.ts')],
    ['docs/reference/bridge-protocol.md', page(bridgePage(), 'tincan-bridge/protocol/schema.ts')],
    ['docs/reference/peer-messages.md', page(peerPage(), 'controller/peer-messages.ts')],
    ['docs/reference/local-api.md', page(localApiPage(), 'controller/local-api/schema.ts')],
    ['docs/reference/errors.md', page(errorsPage(), 'base/errors.ts')],
  ]);
}

function eventsPage(): string {
  const events = membersOf(source('controller/events.ts'), 'export interface Events {');
  const owners = [...new Set(events.map(({ name }) => name.split('.', 1)[0] ?? ''))];
  return [
    '# Bus events',
    'All that the modules of the controller tell each other. `evio watch` prints them as they happen. The word before the dot owns the event: only that module publishes it.',
    ...owners.flatMap((owner) => [
      `## ${owner}`,
      ...events
        .filter(({ name }) => name.startsWith(`${owner}.`))
        .flatMap(({ name, doc, text }) => [
          `### ${name}`,
          doc,
          code(text.replace(/^'[^']+': /, '').replace(/;$/, '')),
        ]),
    ]),
  ].join('\n\n');
}

function bridgePage(): string {
  const text = source('tincan-bridge/protocol/schema.ts');
  const docs = new Map(
    [
      ...membersOf(text, 'export const methods'),
      ...membersOf(text, 'export const notifications'),
    ].map(({ name, doc }) => [name, doc]),
  );
  return [
    '# Bridge protocol',
    `Between the controller and one tunnel process, version ${bridge.bridgeProtocolVersion}: frames of a 32-bit big-endian length and that many bytes of JSON, at most ${bridge.maxFrameBytes}, on file descriptor 3.`,
    '## Methods',
    ...Object.entries(bridge.methods).flatMap(([name, { params, result }]) => [
      `### ${name}`,
      docs.get(name) ?? '',
      code(`params: ${block(params)}\nresult: ${block(result)}`),
    ]),
    '## Notifications',
    ...Object.entries(bridge.notifications).flatMap(([name, schema]) => [
      `### ${name}`,
      docs.get(name) ?? '',
      code(block(schema)),
    ]),
  ].join('\n\n');
}

function peerPage(): string {
  const text = source('controller/peer-messages.ts');
  const schemas = {
    PeerMessage: peer.PeerMessage,
    SignedBody: peer.SignedBody,
    Envelope: peer.Envelope,
    AnnouncementBody: peer.AnnouncementBody,
  };
  return [
    '# Peer messages',
    `All that one node says to another, version ${peer.peerProtocolVersion}. An envelope has at most ${peer.maxEnvelopeChars} characters.`,
    ...schemaSections(schemas, text),
  ].join('\n\n');
}

function localApiPage(): string {
  const text = source('controller/local-api/schema.ts');
  const { VersionReply, Status, TrustReply, AcceptKey, ForgetKey, WatchLine, ErrorReply } =
    localApi;
  const { LinksReply, RoutesReply, PingRequest, PingReply } = localApi;
  const { PodsReply, CniRequest } = localApi;
  return [
    '# Local API',
    `HTTP over the Unix socket \`${localApi.socketName}\` in the run directory, which only its owner may open. Answers are JSON; those of status 400 and above are an ErrorReply.`,
    table(
      ['request', 'answer'],
      [
        [`GET ${localApi.paths.version}`, 'VersionReply'],
        [`GET ${localApi.paths.status}`, 'Status'],
        [`GET ${localApi.paths.links}`, 'LinksReply'],
        [`GET ${localApi.paths.routes}`, 'RoutesReply'],
        [`POST ${localApi.paths.ping}`, 'PingReply; the body is a PingRequest'],
        [`GET ${localApi.paths.trust}`, 'TrustReply'],
        [`POST ${localApi.paths.acceptKey}`, '`{}`; the body is an AcceptKey'],
        [`POST ${localApi.paths.forgetKey}`, '`{}`; the body is a ForgetKey'],
        [`GET ${localApi.paths.pods}`, 'PodsReply'],
        [
          `POST ${localApi.paths.cni}`,
          'text for the container runtime, 422 when it is an error result; the body is a CniRequest',
        ],
        [`GET ${localApi.paths.watch}`, 'WatchLine, one in each line, until either side ends'],
      ],
    ),
    ...schemaSections(
      {
        VersionReply,
        Status,
        LinksReply,
        RoutesReply,
        PingRequest,
        PingReply,
        TrustReply,
        AcceptKey,
        ForgetKey,
        PodsReply,
        CniRequest,
        WatchLine,
        ErrorReply,
      },
      text,
    ),
  ].join('\n\n');
}

const schemaSections = (
  schemas: Readonly<Record<string, z.ZodType>>,
  text: string,
): readonly string[] =>
  Object.entries(schemas).flatMap(([name, schema]) => [
    `## ${name}`,
    ...[docAbove(text, `export const ${name} `)].filter((doc) => doc !== ''),
    code(block(schema)),
  ]);

const block = (schema: z.ZodType): string => typeBlock(jsonSchemaOf(schema)).trimStart();

function errorsPage(): string {
  return [
    '# Errors',
    'Every error has one of these codes, in messages, logs and answers. A code is never renamed or used again for something else.',
    table(
      ['code', 'meaning', 'to do'],
      Object.entries(errorTable).map(([name, { meaning, remedy }]) => [
        `\`${name}\``,
        meaning,
        remedy,
      ]),
    ),
  ].join('\n\n');
}
