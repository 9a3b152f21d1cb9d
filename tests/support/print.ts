/** Lines of tests, benches and the demo: what was measured, and how far they are. */
export const print = (text: string): void => void process.stdout.write(`${text}\n`);
