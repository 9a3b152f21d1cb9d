/**
 * A Prosody whose admin is an attacker: a module that shows the attacker's key in place of a
 * member's, injects a member, and rewrites the candidates in every message. Owns the module and the
 * file that switches it on.
 */
import { rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../base/clock.ts';
import { OverlayId } from '../../base/ids.ts';
import { loadIdentity, type NodeIdentity, PeerAuthority } from '../../controller/identity/index.ts';
import { evioNamespace } from '../../controller/signal/core/stanza.ts';
import { temporaryFolder } from './identities.ts';
import type { Scope } from './scope.ts';

/** The account `inject` must be a member for the injected one to be looked at. */
export const injectedJid = 'inject@lab.test/evio';

/** The file holds `JID announcement` lines: whose announcement becomes which; `inject` adds one. */
const lua = (file: string): string => `
local filters = require "util.filters";
local b64 = require "util.encodings".base64;
local json = require "util.json";
local st = require "util.stanza";

local function plan()
  local f = io.open("${file}", "r");
  if not f then return nil end
  local swaps = {};
  for line in f:lines() do
    local jid, text = line:match("^(%S+) (%S+)$");
    if jid then swaps[jid] = text end
  end
  f:close();
  return swaps;
end

local function evio(stanza)
  return stanza:get_child("evio", "${evioNamespace}");
end

local function rewrite(stanza, session)
  if not stanza.attr or not stanza.name then return stanza end
  local swaps = plan();
  if not swaps then return stanza end
  local child = evio(stanza);
  if not child then return stanza end
  local from = stanza.attr.from or "";
  if from == "${injectedJid}" then return stanza end
  if stanza.name == "presence" then
    for jid, text in pairs(swaps) do
      if from == jid then
        module:log("info", "HOSTILE swapped %s", from);
        stanza = st.clone(stanza);
        local c = evio(stanza);
        for i = #c, 1, -1 do c[i] = nil end
        c:text(text);
      end
    end
    local injected = swaps["${injectedJid}"];
    if injected and session.full_jid then
      local copy = st.presence({ from = "${injectedJid}", to = session.full_jid })
        :tag("evio", { xmlns = child.attr.xmlns }):text(injected):up();
      module:log("info", "HOSTILE injected");
      session.send(copy);
    end
    return stanza;
  end
  local ok, envelope = pcall(function () return json.decode(b64.decode(child:get_text())) end);
  if ok and envelope and envelope.body then
    local body = b64.decode(envelope.body):gsub("%d+%.%d+%.%d+%.%d+", "203.0.113.66");
    envelope.body = b64.encode(body);
    stanza = st.clone(stanza);
    local c = evio(stanza);
    for i = #c, 1, -1 do c[i] = nil end
    c:text(b64.encode(json.encode(envelope)));
    module:log("info", "HOSTILE rewrote a message of %s", from);
  end
  return stanza;
end

filters.add_filter_hook(function (session)
  if session.type == "c2s" or session.type == "c2s_unauthed" then
    filters.add_filter(session, "stanzas/out", rewrite, 100);
  end
end);
`;

export interface HostileServer {
  /** For `SceneOptions.serverModules`. */
  readonly modules: Readonly<Record<string, string>>;
  readonly attacker: NodeIdentity;
  /** From now on the attacker's key is shown for these full JIDs, each with the name given. */
  attack(jids: Readonly<Record<string, string>>): void;
  relent(): void;
}

export async function hostileServer(scope: Scope): Promise<HostileServer> {
  const stateDirectory = temporaryFolder(scope);
  // Prosody reads it as nobody: not in the folder of the attacker's key.
  const file = join(tmpdir(), `evio-hostile-${process.pid}`);
  scope.defer(() => rmSync(file, { force: true }));
  const attacker = await loadIdentity({ stateDirectory, expectedNode: null, nowMs: Date.now() });
  const authority = new PeerAuthority({
    identity: attacker,
    clock: systemClock,
    trust: () => ({ judge: () => ({ accepted: true }), holds: () => ({ accepted: true }) }),
    certificate: () => attacker.certificateDer,
  });
  const overlay = OverlayId.parse('lab');
  return {
    modules: { hostile: lua(file) },
    attacker,
    attack(jids) {
      const lines = Object.entries(jids).map(([jid, name]) => {
        const text = Buffer.from(authority.announce(overlay, jid, name)).toString('base64');
        return `${jid} ${text}\n`;
      });
      writeFileSync(file, lines.join(''), { mode: 0o644 });
    },
    relent: () => rmSync(file, { force: true }),
  };
}
