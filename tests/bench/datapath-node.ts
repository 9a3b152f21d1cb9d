/**
 * One end of the data path bench: a data path with a fixed key and one peer, no ICE, no XMPP. Run
 * inside a namespace by datapath.ts; ends with its standard input.
 *
 * Usage: node datapath-node.js TAP OWN-MAC PEER-MAC PEER-ADDRESS ROLE(0|1) SUITE
 */
import { InterfaceName, Mac, NodeId } from '../../base/ids.ts';
import { createNativeDatapath } from '../../tincan-bridge/datapath/native.ts';
import type { Suite } from '../../tincan-bridge/datapath/wire.ts';

const [tap = '', ownMac = '', peerMac = '', peerAddress = '', role = '0', suiteName = ''] =
  process.argv.slice(2);
const ids = ['00'.repeat(16), '11'.repeat(16)].map((id) => NodeId.parse(id));
const [self, peer] = role === '0' ? ids : [...ids].reverse();
if (self === undefined || peer === undefined) throw new Error('no ids');
const suite: Suite = suiteName === 'chacha20-poly1305' ? suiteName : 'aes-128-gcm';
const keyBytes = suite === 'aes-128-gcm' ? 16 : 32;
const ivBytes = suite === 'aes-128-gcm' ? 4 : 12;
const keys = [1, 2].map((n) => new Uint8Array(keyBytes).fill(n));
const [send = keys[0], receive = keys[1]] = role === '0' ? keys : [...keys].reverse();
if (send === undefined || receive === undefined) throw new Error('no keys');

const datapath = createNativeDatapath({
  tap: InterfaceName.parse(tap),
  nodeId: self,
  onUpcalls: (upcalls) => {
    for (const upcall of upcalls) {
      if (upcall.kind === 'frame-out' && upcall.reason === 'group') {
        for (const bytes of datapath.completeFrame(upcall.frame)) {
          datapath.sendFrame(1, 'flood', { bytes, offload: null });
        }
      } else if (upcall.kind === 'message') {
        datapath.deliverFrame({ bytes: upcall.bytes, offload: null });
      }
    }
  },
});
const { socket } = datapath.openSocket(4, null, 7000);
datapath.addSession({
  session: 1,
  peer,
  keys: {
    suite,
    sendKey: send,
    sendIv: new Uint8Array(ivBytes),
    receiveKey: receive,
    receiveIv: new Uint8Array(ivBytes),
  },
  path: { kind: 'udp', socket, to: { address: peerAddress, port: 7000 } },
  sockets: [socket],
  maxFrameBytes: 9000,
});
datapath.setStation(Mac.parse(ownMac), { kind: 'local' });
datapath.setStation(Mac.parse(peerMac), { kind: 'session', session: 1 });
process.stdout.write('ready\n');
process.stdin.resume();
process.stdin.on('end', () => datapath.close());
