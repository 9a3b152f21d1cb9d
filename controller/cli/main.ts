/**
 * The `evio` command: words to calls, answers to text, errors to exit codes. Owns the command line;
 * decides nothing and shows only what the local API says.
 */
import { Command, CommanderError } from 'commander';
import { errorTable, toEvioError } from '../../base/errors.ts';
import { checkCommand } from './check-command.ts';
import { peersCommand, statusCommand, versionCommand, watchCommand } from './commands.ts';

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
  return program;
}

function addAskingCommands(program: Command): void {
  const asking = (name: string, description: string, example: string): Command =>
    program
      .command(name)
      .description(description)
      .option('--socket <path>', 'socket of the controller')
      .option('--config <file>', 'configuration that the controller runs with')
      .option('--json', 'the answer as JSON')
      .addHelpText('after', `${socketHelp}\nExamples:\n${example}\n`);
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
