/** The power fails at any moment of any operation, on a machine with systemd-boot and an ESP. */
import { describe, expect, test } from "vitest";
import { updateTrouble } from "../../src/model/update-outcome.ts";
import { readUpdateRecord } from "../../userspace/deployment/outcome.ts";
import {
  COLLECT,
  COMPLETE,
  DELETE,
  FINALIZE,
  FINALIZE_FAILS,
  FINALIZE_OLDER_GOES,
  FINALIZE_TWICE,
  FINALIZE_WITH_CONFLICTS,
  INSTALL,
  KARG,
  KARG_OF_STAGED,
  PIN,
  PULL_AND_STAGE,
  ROLLBACK,
  ROLLBACK_DROPS,
  STAGE,
  STAGE_ANEW,
  SWITCH_IN_PLACE,
  UNLOCK,
  UNPIN,
} from "./crash-operations.ts";
import { DEEP, type Operation, prove, proveKilled, SAMPLED } from "./crash-proof.ts";
import { sceneOf } from "./crash-scene.ts";

const timeout = 600_000;

/** And how many different disks there are at least. */
const OPERATIONS: readonly (readonly [Operation, number])[] = [
  [INSTALL, 200],
  [STAGE, 200],
  [STAGE_ANEW, 200],
  [UNLOCK, 4],
  [FINALIZE, 250],
  [FINALIZE_OLDER_GOES, 100],
  [ROLLBACK, 70],
  [ROLLBACK_DROPS, 100],
  [DELETE, 50],
  [PIN, 8],
  [UNPIN, 8],
  [COLLECT, 100],
  [COMPLETE, 70],
  [KARG, 75],
  [KARG_OF_STAGED, 100],
  [SWITCH_IN_PLACE, 4],
];

const MORE: readonly (readonly [Operation, number])[] = [
  [PULL_AND_STAGE, 350],
  [FINALIZE_TWICE, 250],
  ...FINALIZE_WITH_CONFLICTS.map((operation) => [operation, 250] as const),
  [FINALIZE_FAILS, 8],
];

test.each(
  [INSTALL, FINALIZE, FINALIZE_OLDER_GOES, ROLLBACK, ROLLBACK_DROPS].map((operation) => ({
    operation,
    name: operation.name,
  })),
)("without a sync, what may be lost is noticed: $name", { timeout }, async ({ operation }) => {
  const scene = await sceneOf("an ESP");
  await expect(prove(scene, operation, DEEP, false)).rejects.toThrow(/after change/);
});

describe("the power fails at any moment", () => {
  test.each(OPERATIONS.map(([operation, atLeast]) => ({ ...operation, operation, atLeast })))(
    "$name",
    { timeout },
    async ({ operation, atLeast }) => {
      const count = await prove(await sceneOf("an ESP"), operation, DEEP);
      expect(count).toBeGreaterThanOrEqual(atLeast);
    },
  );

  test.each(MORE.map(([operation, atLeast]) => ({ ...operation, operation, atLeast })))(
    "$name",
    { timeout },
    async ({ operation, atLeast }) => {
      const count = await prove(await sceneOf("an ESP"), operation, SAMPLED);
      expect(count).toBeGreaterThanOrEqual(atLeast);
    },
  );
});

describe("the process is killed at any moment, and started again", () => {
  test.each([FINALIZE, STAGE_ANEW, ROLLBACK, COMPLETE, KARG])(
    "$name",
    { timeout },
    async (operation) => {
      const count = await proveKilled(await sceneOf("an ESP"), operation);
      expect(count).toBeGreaterThan(10);
    },
  );
});

test("an update that could not be finalized is told after the next boot, until it was", async () => {
  const scene = await sceneOf("an ESP");
  const machine = FINALIZE_FAILS.start(scene);
  const trouble = (of: typeof machine) =>
    of.with((host, _repository, seen) => updateTrouble(readUpdateRecord(host), seen, host.bootId));
  FINALIZE_FAILS.act(machine, scene);
  const booted = machine.booted();
  expect(trouble(booted)?.message).toMatch(/could not be finalized: .*conflicts in \/etc: only-14/);
  FINALIZE_FAILS.again?.(booted, scene);
  expect(trouble(booted.booted())).toBeUndefined();
});
