/** The power fails at any moment, on machines with other boot partitions, with GRUB, and with fs-verity. */
import { describe, expect, test } from "vitest";
import {
  COLLECT,
  COMPLETE,
  DELETE,
  FINALIZE,
  FINALIZE_OLDER_GOES,
  INSTALL,
  KARG,
  KARG_OF_STAGED,
  PULL_AND_STAGE,
  ROLLBACK,
  ROLLBACK_DROPS,
  STAGE,
} from "./crash-operations.ts";
import { type Operation, prove, proveKilled, SAMPLED } from "./crash-proof.ts";
import { type LayoutName, sceneOf } from "./crash-scene.ts";

const timeout = 600_000;

const CASES: readonly (readonly [LayoutName, readonly (readonly [Operation, number])[]])[] = [
  [
    "ESPs on two disks",
    [
      [INSTALL, 200],
      [STAGE, 200],
      [FINALIZE, 250],
      [ROLLBACK, 100],
      [DELETE, 100],
      [COMPLETE, 100],
      [KARG_OF_STAGED, 100],
      [COLLECT, 100],
    ],
  ],
  [
    "fs-verity",
    [
      [PULL_AND_STAGE, 300],
      [FINALIZE, 250],
      [COLLECT, 100],
    ],
  ],
  [
    "XBOOTLDR",
    [
      [FINALIZE, 150],
      [ROLLBACK, 20],
      [COMPLETE, 20],
    ],
  ],
  [
    "GRUB with a /boot of its own",
    [
      [STAGE, 200],
      [FINALIZE, 150],
      [FINALIZE_OLDER_GOES, 50],
      [ROLLBACK, 20],
      [ROLLBACK_DROPS, 30],
      [DELETE, 20],
      [COMPLETE, 4],
      [KARG, 20],
    ],
  ],
  [
    "GRUB with /boot on the root",
    [
      [INSTALL, 100],
      [FINALIZE, 150],
      [ROLLBACK, 20],
    ],
  ],
];

describe.each(CASES)("%s", (layout, operations) => {
  test.each(operations.map(([operation, atLeast]) => ({ ...operation, operation, atLeast })))(
    "$name",
    { timeout },
    async ({ operation, atLeast }) => {
      const count = await prove(await sceneOf(layout), operation, SAMPLED);
      expect(count).toBeGreaterThanOrEqual(atLeast);
    },
  );
});

test.each(["ESPs on two disks", "GRUB with a /boot of its own"] as const)(
  "finalize is killed at any moment, and started again: %s",
  { timeout },
  async (layout) => {
    expect(await proveKilled(await sceneOf(layout), FINALIZE)).toBeGreaterThan(100);
  },
);
