/** What holds for any three states of `/etc`. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compareEtc } from "../../../src/model/etc/compare.ts";
import {
  ETC_STRATEGIES,
  type EtcStrategy,
  isBlocked,
  mergeEtc,
} from "../../../src/model/etc/merge.ts";
import type { EtcDirectory, EtcEntry } from "../../../src/model/etc/tree.ts";
import { mergeText } from "../../../userspace/deployment/etc/text-merge.ts";
import { device, dir, file, listing, symlink } from "./trees.ts";

const attributes = fc.record({
  mode: fc.constantFrom(0o644, 0o4755),
  uid: fc.nat(1),
  mtime: fc.nat(2),
  xattrs: fc.constantFrom<Record<string, string>>({}, { "user.a": "1" }),
});

const leaf = fc.oneof(
  {
    weight: 5,
    arbitrary: fc
      .tuple(fc.constantFrom("", "a\n", "b\n", "a\nb\nc\n", "x\nb\nc\n"), attributes)
      .map(([t, a]) => file(t, a)),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(fc.constantFrom("s", "t"), attributes).map(([t, a]) => symlink(t, a)),
  },
  { weight: 1, arbitrary: fc.tuple(fc.nat(1), attributes).map(([n, a]) => device(n, a)) },
);

/** Leaves that are taken from few stand for hard links. */
const tree: fc.Arbitrary<EtcDirectory> = fc
  .array(leaf, { minLength: 1, maxLength: 4 })
  .chain((leaves) => {
    const directory = (depth: number): fc.Arbitrary<EtcDirectory> => {
      const few = fc.constantFrom(...leaves);
      const entry: fc.Arbitrary<EtcEntry> =
        depth === 0
          ? few
          : fc.oneof({ weight: 2, arbitrary: few }, { weight: 1, arbitrary: directory(depth - 1) });
      const names = fc.constantFrom("a", "b", "c", "d");
      return fc
        .tuple(fc.dictionary(names, entry, { maxKeys: 4, noNullPrototype: true }), attributes)
        .map(([entries, own]) => dir(entries, own));
    };
    return directory(2);
  });

/** Mostly `tree` again, here and there with something of `other`. */
function mixed(one: EtcDirectory, other: EtcDirectory, choose: () => boolean): EtcDirectory {
  const entries = new Map<never, EtcEntry>();
  for (const name of new Set([...one.entries.keys(), ...other.entries.keys()]) as Set<never>) {
    const [a, b] = [one.entries.get(name), other.entries.get(name)];
    const deep =
      a?.type === "directory" && b?.type === "directory" ? mixed(a, b, choose) : undefined;
    const taken = deep ?? (choose() ? b : a);
    if (taken !== undefined) entries.set(name, taken);
  }
  return { type: "directory", stat: choose() ? other.stat : one.stat, entries };
}

const triple = fc.tuple(tree, tree, tree, fc.infiniteStream(fc.nat(3))).map(([p, a, b, stream]) => {
  const seldom = () => stream.next().value === 0;
  return { pristine: p, current: mixed(p, a, seldom), next: mixed(p, b, seldom) };
});

const strategy = fc.constantFrom<EtcStrategy>(...ETC_STRATEGIES);
const RUNS = { numRuns: 1000 };

describe("any merge", () => {
  test("where nothing was changed here, is the new image's exactly", () => {
    fc.assert(
      fc.property(triple, strategy, ({ pristine, next }, by) => {
        const plan = mergeEtc({ pristine, current: pristine, next }, by, mergeText);
        expect(plan).toMatchObject({ conflicts: [], local: [], steps: [] });
        expect(listing(plan.tree)).toEqual(listing(next));
      }),
      RUNS,
    );
  });

  test("where the image did not change, is the machine's exactly", () => {
    fc.assert(
      fc.property(triple, strategy, ({ pristine, current }, by) => {
        const plan = mergeEtc({ pristine, current, next: pristine }, by, mergeText);
        expect(plan.conflicts).toEqual([]);
        expect(listing(plan.tree)).toEqual(listing(current));
        expect(plan.steps).toEqual(plan.local);
      }),
      RUNS,
    );
  });

  test("done once more with its result, changes nothing", () => {
    fc.assert(
      fc.property(triple, strategy, ({ pristine, current, next }, by) => {
        const { tree: merged } = mergeEtc({ pristine, current, next }, by, mergeText);
        if (by !== "merge") {
          const again = mergeEtc({ pristine, current: merged, next }, by, mergeText).tree;
          expect(listing(again)).toEqual(listing(merged));
        }
        const booted = mergeEtc({ pristine: next, current: merged, next }, by, mergeText).tree;
        expect(listing(booted)).toEqual(listing(merged));
      }),
      RUNS,
    );
  });

  test("has what was changed here, and where the image is to win, what it changed", () => {
    fc.assert(
      fc.property(triple, ({ pristine, current, next }) => {
        const kept = mergeEtc({ pristine, current, next }, "keep-local", mergeText);
        const lost = new Set(compareEtc(current, kept.tree).map(({ path }) => path));
        const mine = kept.local.filter(({ kind }) => kind !== "removed");
        expect(mine.filter(({ path }) => lost.has(path))).toEqual([]);

        const taken = mergeEtc({ pristine, current, next }, "take-image", mergeText);
        const differs = new Set(compareEtc(next, taken.tree).map(({ path }) => path));
        const theirs = compareEtc(pristine, next).filter(({ kind }) => kind !== "removed");
        expect(theirs.filter(({ path }) => differs.has(path))).toEqual([]);
      }),
      RUNS,
    );
  });

  test("is blocked by a directory against something else, and only where nobody decides", () => {
    fc.assert(
      fc.property(triple, strategy, ({ pristine, current, next }, by) => {
        const plan = mergeEtc({ pristine, current, next }, by, mergeText);
        const types = plan.conflicts.some(({ kind }) => kind.startsWith("directory"));
        expect(isBlocked(plan)).toBe(by === "fail" && types);
      }),
      RUNS,
    );
  });
});
