/** Opens a data path in a worker and never closes it: its environment's end must. */
import { parentPort, workerData } from 'node:worker_threads';
import { InterfaceName, NodeId } from '../../base/ids.ts';
import { createNativeDatapath } from '../../tincan-bridge/datapath/native.ts';

const datapath = createNativeDatapath({
  tap: InterfaceName.parse(workerData.tap),
  nodeId: NodeId.parse('b'.repeat(32)),
  onUpcalls: () => {},
});
datapath.openSocket(4, '127.0.0.1', 0);
parentPort?.postMessage('open');
