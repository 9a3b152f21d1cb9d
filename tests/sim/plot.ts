/**
 * A run as a picture: the ring with its links by reason, and how many hops pairs are apart. Owns the
 * SVG text; measures nothing.
 */
import type { LinkReason } from '../../controller/peer-messages.ts';
import type { Run } from './measure.ts';

const size = 720;
const radius = 320;
const colours: Readonly<Record<LinkReason, string>> = {
  static: '#7a3e9d',
  successor: '#1b6ca8',
  'on-demand': '#c8541a',
  'long-distance': '#8aa34b',
};
/** More lines than that are a grey disc. */
const maxLines = 3_000;

export function plot({ simulation, hops, figures }: Run): string {
  const nodes = simulation.running();
  const place = (index: number): readonly [number, number] => {
    const angle = (2 * Math.PI * index) / nodes.length - Math.PI / 2;
    return [size / 2 + radius * Math.cos(angle), size / 2 + radius * Math.sin(angle)];
  };
  const indexes = new Map(nodes.map(({ id }, index) => [id, index]));
  const lines: string[] = [];
  for (const [index, { state }] of nodes.entries()) {
    for (const [peer, { own, up }] of state.links) {
      const other = indexes.get(peer);
      if (own === null || !up || other === undefined || lines.length >= maxLines) continue;
      const [x1, y1] = place(index);
      const [x2, y2] = place(other);
      lines.push(
        `<line x1="${x1.toFixed(1)}" y1="${y1.toFixed(1)}" x2="${x2.toFixed(1)}" y2="${y2.toFixed(1)}" stroke="${colours[own.reason]}"/>`,
      );
    }
  }
  const dots = nodes.map((_, index) => {
    const [x, y] = place(index);
    return `<circle cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="${nodes.length > 200 ? 1 : 3}"/>`;
  });
  const { nodes: count, seed, links } = figures;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${2 * size} ${size}" font-family="sans-serif" font-size="16">`,
    `<rect width="${2 * size}" height="${size}" fill="white"/>`,
    `<g stroke-width="0.6" stroke-opacity="0.5">${lines.join('')}</g>`,
    `<g fill="#222">${dots.join('')}</g>`,
    `<text x="16" y="28">${count} nodes, seed ${seed}, ${links.mean} links each</text>`,
    ...Object.entries(colours).map(
      ([reason, colour], n) =>
        `<text x="16" y="${size - 80 + 20 * n}" fill="${colour}">${reason}</text>`,
    ),
    ...bars(hops),
    '</svg>',
    '',
  ].join('\n');
}

function bars(hops: readonly number[]): readonly string[] {
  const counts = new Map<number, number>();
  for (const hop of hops) counts.set(hop, (counts.get(hop) ?? 0) + 1);
  const most = Math.max(1, ...counts.values());
  const longest = Math.max(1, ...counts.keys());
  const width = (size - 120) / longest;
  const drawn = [`<text x="${size + 60}" y="28">pairs by hops</text>`];
  for (let hop = 1; hop <= longest; hop += 1) {
    const count = counts.get(hop) ?? 0;
    const height = (count / most) * (size - 160);
    const x = size + 60 + (hop - 1) * width;
    drawn.push(
      `<rect x="${x.toFixed(1)}" y="${(size - 60 - height).toFixed(1)}" width="${(width * 0.8).toFixed(1)}" height="${height.toFixed(1)}" fill="#1b6ca8"/>`,
      `<text x="${(x + width * 0.3).toFixed(1)}" y="${size - 38}">${hop}</text>`,
      `<text x="${x.toFixed(1)}" y="${(size - 66 - height).toFixed(1)}" font-size="12">${((100 * count) / hops.length).toFixed(1)} %</text>`,
    );
  }
  return drawn;
}
