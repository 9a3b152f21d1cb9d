/**
 * Opens a data path in a worker and never closes it: its environment's end must. Its callback throws,
 * which must not be swallowed.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { InterfaceName, NodeId } from '../../base/ids.ts';
import { createNativeDatapath } from '../../tincan-bridge/datapath/native.ts';

const datapath = createNativeDatapath({
  tap: InterfaceName.parse(workerData.tap),
  nodeId: NodeId.parse('b'.repeat(32)),
  onUpcalls: () => {
    throw new Error('thrown by onUpcalls');
  },
});
const { socket, port } = datapath.openSocket(4, '127.0.0.1', 0);
parentPort?.on('message', () => {
  datapath.sendDatagram(socket, { address: '127.0.0.1', port }, Uint8Array.of(1));
});
parentPort?.postMessage('open');
