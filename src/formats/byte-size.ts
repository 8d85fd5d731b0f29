/** Sizes as people write them: `512M`, `1G`, `10GiB`, `1048576`. Units are powers of 1024. */

const UNITS: Readonly<Record<string, number>> = {
  "": 1,
  K: 2 ** 10,
  M: 2 ** 20,
  G: 2 ** 30,
  T: 2 ** 40,
};

/** In bytes. Throws for what is no size. */
export function parseByteSize(text: string): number {
  const match = /^([0-9]{1,15})([KMGT]?)(?:i?B)?$/i.exec(text);
  const size = Number(match?.[1]) * (UNITS[match?.[2]?.toUpperCase() ?? ""] ?? 0);
  if (!Number.isSafeInteger(size) || size === 0) {
    throw new Error(`size ${JSON.stringify(text.slice(0, 40))}: expected one like 512M or 10G`);
  }
  return size;
}

/** The same with the largest unit that leaves no fraction. */
export function formatByteSize(size: number): string {
  const [unit, factor] = Object.entries(UNITS)
    .reverse()
    .find(([, each]) => size % each === 0)!;
  return unit === "" || size === 0 ? `${size} B` : `${size / factor} ${unit}iB`;
}
