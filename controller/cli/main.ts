/**
 * The `evio` command: words to calls, answers to text, errors to exit codes. Owns the command line;
 * decides nothing and shows only what the local API says.
 */
import { Command, CommanderError } from 'commander';
import { errorTable, toEvioError } from '../../base/errors.ts';
import { readVersion } from '../version.ts';
import {
  caCrlCommand,
  caInitCommand,
  caListCommand,
  caRequestCommand,
  caRevokeCommand,
  caSignCommand,
} from './ca-commands.ts';
import { checkCommand } from './check-command.ts';
import { cniInstallCommand, cniStatusCommand, cniUninstallCommand } from './cni-commands.ts';
import { peersCommand, statusCommand, versionCommand, watchCommand } from './commands.ts';
import { linksCommand, pingCommand, routesCommand, traceCommand } from './ring-commands.ts';
import { trustAcceptCommand, trustForgetCommand, trustListCommand } from './trust-commands.ts';

/** Documented in `--help`. */
const exitCodes = { ok: 0, failed: 1, usage: 2, notRunning: 3 } as const;

const exitHelp = `
Exit codes:
  0  done
  1  failed
  2  wrong usage or configuration
  3  no controller is running
`;

const socketHelp = `
The controller is found by --socket, else by the RunDirectory in --config, else by the one in
/etc/evio/config.json, else at /run/evio/controller.sock.
`;

function createProgram(): Command {
  const program = new Command('evio')
    .description('One virtual layer-2 network for machines behind different NATs.')
    .version(readVersion(), '--version', 'show the release of this program')
    .helpCommand(false)
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'evio: ')) })
    .addHelpText('after', exitHelp);
  program
    .command('up')
    .description('run this node in the foreground until SIGTERM or SIGINT')
    .option('--config <file>', 'configuration of the node', '/etc/evio/config.json')
    .addHelpText('after', '\nExample:\n  evio up --config /etc/evio/config.json\n')
    .action(up);
  const config = program
    .command('config')
    .description('work with configuration files')
    .helpCommand(false);
  config
    .command('check')
    .description('list everything that is wrong with a configuration; changes nothing')
    .argument('<file>', 'configuration to check')
    .option('--json', 'the findings as JSON')
    .addHelpText('after', '\nExample:\n  evio config check /etc/evio/config.json\n')
    .action(checkCommand);
  addAskingCommands(program);
  addTrustCommands(program);
  addCaCommands(program);
  addCniCommands(program);
  return program;
}

/** A command that asks a running controller, below `parent`. */
const askingBelow =
  (parent: Command) =>
  (name: string, description: string, example: string): Command =>
    parent
      .command(name)
      .description(description)
      .option('--socket <path>', 'socket of the controller')
      .option('--config <file>', 'configuration that the controller runs with')
      .option('--json', 'the answer as JSON')
      .addHelpText('after', `${socketHelp}\nExamples:\n${example}\n`);

function addAskingCommands(program: Command): void {
  const asking = askingBelow(program);
  asking(
    'status',
    'show this node: signalling, devices, tunnels, problems and what to do about them',
    '  evio status\n  evio status --json | jq .overlays[].signal.state',
  ).action(statusCommand);
  asking(
    'peers',
    'list the peers with path, round trip and traffic; with a name, all about one',
    '  evio peers\n  evio peers barn-gw\n  evio peers --json',
  )
    .argument('[peer]', 'name of a peer, or the start of its id')
    .action(peersCommand);
  addRingCommands(asking);
  asking(
    'watch',
    "print the controller's events as they happen, until interrupted",
    '  evio watch\n  evio watch --json | jq .name',
  ).action(watchCommand);
  asking(
    'version',
    'show the release of this program and of the running controller',
    '  evio version\n  evio version --json',
  ).action(versionCommand);
}

function addRingCommands(asking: ReturnType<typeof askingBelow>): void {
  asking(
    'links',
    'list the links of this node: why each is there, how it stands and since when',
    '  evio links\n  evio links --json | jq .overlays[].links',
  ).action(linksCommand);
  asking(
    'routes',
    'list the next hop towards every member',
    '  evio routes\n  evio routes --json',
  ).action(routesCommand);
  const peer = ['<peer>', 'name of a peer, or the start of its id'] as const;
  asking(
    'ping',
    "ask a peer's tunnel process for a sign of life; shows path and hops, exits 1 without an answer",
    '  evio ping barn-gw\n  evio ping barn-gw --count 1 --json',
  )
    .argument(...peer)
    .option('--count <n>', 'how often, a second apart', '4')
    .action(pingCommand);
  asking(
    'trace',
    'show each node on the way to a peer and its round trip; exits 1 without an answer',
    '  evio trace barn-gw\n  evio trace barn-gw --json | jq .hops[].name',
  )
    .argument(...peer)
    .action(traceCommand);
}

function addTrustCommands(program: Command): void {
  const trust = program
    .command('trust')
    .description('the keys of peers that this node has pinned')
    .helpCommand(false);
  const asking = askingBelow(trust);
  const place = (command: Command): Command =>
    command
      .requiredOption('--account <jid>', 'account of the node')
      .requiredOption('--name <name>', 'name of the node')
      .option('--overlay <id>', 'its overlay; default: the only one that pins keys');
  asking(
    'list',
    'show the pinned keys',
    '  evio trust list\n  evio trust list --json | jq .overlays[].pins',
  ).action(trustListCommand);
  place(
    asking(
      'accept',
      'accept the changed key of a node; status shows both keys',
      '  evio trust accept --account barn@farm.example --name barn \\\n    --from 0f3c… --to 9b1d…',
    ),
  )
    .requiredOption('--from <id>', 'node id of the key that is pinned')
    .requiredOption('--to <id>', 'node id of the key to accept')
    .action(trustAcceptCommand);
  place(
    asking(
      'forget',
      'forget the key of a node that is gone for good; its links end',
      '  evio trust forget --account barn@farm.example --name barn --key 0f3c…',
    ),
  )
    .requiredOption('--key <id>', 'node id of the key that is pinned')
    .action(trustForgetCommand);
}

function addCaCommands(program: Command): void {
  const ca = program
    .command('ca')
    .description("be an overlay's certificate authority (trust policy ca)")
    .helpCommand(false);
  const command = (words: string, description: string, example: string): Command =>
    ca
      .command(words)
      .description(description)
      .option('--json', 'the result as JSON')
      .addHelpText('after', `\nExample:\n${example}\n`);
  const inFolder = (made: Command): Command =>
    made
      .requiredOption('--dir <folder>', 'folder of the CA')
      .option('--passphrase-file <file>', "file that holds the passphrase of the CA's key");
  const listing = (made: Command): Command =>
    made.option('--crl-days <n>', 'days until the next revocation list is due', '90');
  listing(inFolder(command('init', 'make a CA', '  evio ca init --dir farm-ca --overlay farm')))
    .requiredOption('--overlay <id>', 'the overlay that it is for')
    .option('--days <n>', 'days that the CA is valid', '7300')
    .action(caInitCommand);
  command(
    'request',
    'on a node: print what the CA is to sign; makes the identity if there is none',
    '  evio ca request --config /etc/evio/config.json >barn.pem',
  )
    .option('--config <file>', 'configuration of the node', '/etc/evio/config.json')
    .option('--state-directory <folder>', 'folder of the identity, instead of a configuration')
    .action(caRequestCommand);
  inFolder(
    command(
      'sign <file>',
      'sign a node: its certificate.pem or a PKCS#10 request; without --node-id only shows whose it is',
      '  evio ca sign barn.pem --dir farm-ca --name barn --node-id 0f3c… --out barn-signed.pem',
    ),
  )
    .requiredOption('--name <name>', 'NodeName of the node')
    .option('--node-id <id>', 'node id that the node itself has shown')
    .option('--days <n>', 'days that the certificate is valid', '825')
    .option('--out <file>', 'write it there too; never overwrites')
    .action(caSignCommand);
  const revoke = 'revoke all certificates of a node, or the one of a serial number';
  listing(
    inFolder(command('revoke <which>', revoke, '  evio ca revoke 0f3c… --dir farm-ca')),
  ).action(caRevokeCommand);
  const renew = 'publish the revocation list anew, before it is out of date';
  listing(inFolder(command('crl', renew, '  evio ca crl --dir farm-ca'))).action(caCrlCommand);
  command('list', 'show what was signed', '  evio ca list --dir farm-ca')
    .requiredOption('--dir <folder>', 'folder of the CA')
    .action(caListCommand);
}

function addCniCommands(program: Command): void {
  const cni = program
    .command('cni')
    .description('the plugin by which container runtimes attach pods')
    .helpCommand(false);
  const asking = askingBelow(cni);
  const placed = (command: Command): Command =>
    command
      .option('--bin-dir <folder>', "the runtimes' executables", '/opt/cni/bin')
      .option('--conf-dir <folder>', "the runtimes' configurations", '/etc/cni/net.d');
  const example =
    '  evio cni install\n  evio cni install --overlay farm --chain portmap --wait 300';
  placed(
    asking(
      'install',
      'put the executable and, once pods can be attached, its configuration in place',
      example,
    ),
  )
    .option('--overlay <id>', 'overlay of the pods; needed where several have a section in Cni')
    .option('--name <name>', 'name of the network', 'evio')
    .option('--cni-version <version>', 'version of the specification', '1.0.0')
    .option('--chain <plugins>', 'plugins behind it; default: portmap and bandwidth if installed')
    .option('--wait <seconds>', 'how long to wait until pods can be attached', '60')
    .action(cniInstallCommand);
  placed(asking('uninstall', 'remove what install put there', '  evio cni uninstall')).action(
    cniUninstallCommand,
  );
  placed(
    asking(
      'status',
      'show what is installed, the ranges and who has them',
      '  evio cni status --json',
    ),
  ).action(cniStatusCommand);
}

/** Loads the controller only here: the other commands start without it. */
async function up(options: { readonly config: string }): Promise<void> {
  const { runController } = await import('../main.ts');
  process.exitCode = await runController({ configFile: options.config });
}

/** The exit code of what was thrown; says on standard error what went wrong and what to do. */
function fail(error: unknown): number {
  if (error instanceof CommanderError) {
    // Commander has printed its message; asking for help or nothing wrong exits 0.
    return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
  }
  const { code, message } = toEvioError(error);
  process.stderr.write(`evio: ${message} [${code}]\nto do: ${errorTable[code].remedy}\n`);
  if (code === 'not-running') return exitCodes.notRunning;
  return ['config.unreadable', 'config.invalid', 'secret.unreadable'].includes(code)
    ? exitCodes.usage
    : exitCodes.failed;
}

// The reader of a pipe may leave first (`evio watch | head`): then there is no more to do.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? exitCodes.ok : exitCodes.failed);
});
try {
  await createProgram().parseAsync();
} catch (error) {
  process.exitCode = fail(error);
}
