import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { ChunkedFile, ChunkedLayout } from "../../src/formats/zstd-chunked.ts";
import {
  coalesce,
  MAX_REQUEST,
  mayBeWorthwhile,
  planPartial,
} from "../../src/model/partial-plan.ts";

const DIGEST = `sha256:${"ab".repeat(32)}`;
const MB = 1 << 20;

function layout(end: number, tarSplit = true): ChunkedLayout {
  const section = (start: number) => ({ start, end: start + 1000, size: 5000, digest: DIGEST });
  return {
    data: { start: 0, end },
    toc: section(end + 8),
    tarSplit: tarSplit ? section(end + 1016) : undefined,
  };
}

/** Files one after the other, with 100 bytes of headers before each. */
function filesOf(sizes: readonly number[]): ChunkedFile[] {
  let at = 0;
  return sizes.map((length, i) => {
    const start = at + 100;
    at = start + length;
    const frames = { type: "frames" as const, start, end: at, size: length };
    return { name: `f${i}`, size: length, digest: DIGEST, start, end: at, parts: [frames] };
  });
}

const plan = (sizes: readonly number[], here: readonly number[], tarSplit = true) => {
  const files = filesOf(sizes);
  const end = files.at(-1)!.end + 100;
  return planPartial(
    files.map((file, i) => ({ file, local: here.includes(i) || undefined })),
    layout(end, tarSplit),
    end + 3000,
  );
};

describe("plan", () => {
  test("all is here: only the tables are fetched", () => {
    expect(plan([MB, MB], [0, 1])).toMatchObject({ fetches: [], bytes: 2000, worthwhile: true });
  });

  test("nothing is here: all at once is cheaper", () => {
    expect(plan([MB, MB], [])).toMatchObject({ worthwhile: false });
  });

  test("one file is missing", () => {
    const { fetches, bytes, worthwhile } = plan([MB, 5000, MB], [0, 2]);
    expect(fetches).toEqual([{ start: 100 + MB + 100, end: 100 + MB + 100 + 5000 }]);
    expect({ bytes, worthwhile }).toEqual({ bytes: 7000, worthwhile: true });
  });

  test("a small file that is here is not worth another request", () => {
    const { fetches } = plan([5000, 3000, 5000, MB], [1, 3]);
    expect(fetches).toEqual([{ start: 100, end: 100 + 5000 + 100 + 3000 + 100 + 5000 }]);
  });

  test("without a tar-split the headers are fetched, too", () => {
    const { fetches } = plan([MB, MB], [0, 1], false);
    expect(fetches).toEqual([
      { start: 0, end: 100 },
      { start: 100 + MB, end: 200 + MB },
      { start: 200 + 2 * MB, end: 300 + 2 * MB },
    ]);
  });

  test("holes are not fetched", () => {
    const [file] = filesOf([3 * MB]) as [ChunkedFile];
    const { start } = file;
    const parts = [
      { type: "frames" as const, size: 10, start, end: start + 1000 },
      { type: "zeros" as const, size: 10 },
      { type: "frames" as const, size: 10, start: start + 2 * MB, end: file.end },
    ];
    const planned = planPartial(
      [{ file: { ...file, parts }, local: undefined }],
      layout(4 * MB),
      4 * MB + 4000,
    );
    expect(planned.fetches).toEqual([
      { start, end: start + 1000 },
      { start: start + 2 * MB, end: file.end },
    ]);
  });

  test("many requests for little are no gain", () => {
    // of a hundred files of 100 kB each other one is here: half the bytes, at fifty requests
    const sizes = Array.from({ length: 100 }, () => 100_000);
    const here = sizes.map((_, i) => i).filter((i) => i % 2 === 0);
    expect(plan(sizes, here).worthwhile).toBe(false);
    expect(
      plan(
        sizes,
        here.concat([1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31, 33, 35, 37, 39]),
      ).worthwhile,
    ).toBe(true);
  });

  test("a small layer is not asked for its tables", () => {
    expect(mayBeWorthwhile(layout(50_000), 53_000)).toBe(false);
    expect(mayBeWorthwhile(layout(MB), MB + 3000)).toBe(true);
  });
});

const sizes = fc.array(fc.integer({ min: 1, max: 5 * MB }), { minLength: 1, maxLength: 20 });

test("what is needed is fetched, in order, apart, in pieces that are not too large", () => {
  fc.assert(
    fc.property(sizes, fc.array(fc.nat(19)), fc.boolean(), (lengths, here, tarSplit) => {
      const { files, fetches } = plan(lengths, here, tarSplit);
      for (const [i, { start, end }] of fetches.entries()) {
        expect(end - start).toBeGreaterThan(0);
        expect(end - start).toBeLessThanOrEqual(MAX_REQUEST);
        expect(start).toBeGreaterThanOrEqual(fetches[i - 1]?.end ?? 0);
      }
      const has = (at: number) => fetches.some(({ start, end }) => start <= at && at < end);
      for (const { file, local } of files) {
        if (local === undefined)
          for (const at of [file.start, (file.start + file.end) >> 1, file.end - 1])
            expect(has(at)).toBe(true);
        if (!tarSplit) expect(has(file.start - 1) && has(file.start - 100)).toBe(true);
      }
    }),
  );
});

test("ranges are joined where little is between them", () => {
  const ranges = [
    { start: 0, end: 10 },
    { start: 12, end: 20 },
    { start: 20, end: 20 },
    { start: 40, end: 50 },
  ];
  expect(coalesce(ranges, 20)).toEqual([
    { start: 0, end: 20 },
    { start: 40, end: 50 },
  ]);
  expect(coalesce(ranges, 21)).toEqual([{ start: 0, end: 50 }]);
});
