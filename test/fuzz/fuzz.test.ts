/**
 * Hostile input to everything that reads: it is read, or refused with an error that names a place; never does it crash the
 * program, take more than a second, or more memory than there is reason for.
 *
 * A short run is the same every time. By hand, each target for so many seconds with new seeds:
 *
 *     CFSBOOT_FUZZ_SECONDS=60 npx vitest run test/fuzz [-t 'NAME OF A TARGET']
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { describeError, isInternal } from "../../userspace/cli/errors.ts";
import { garbage, mutate, Random } from "./mutate.ts";
import { type Target, targets } from "./targets.ts";

const SECONDS = Number(process.env.CFSBOOT_FUZZ_SECONDS ?? 0);
const FIRST_SEED = SECONDS > 0 ? Date.now() % 2 ** 31 : 1;
const ROUNDS = 500;
/** Of the large inputs a short run tries one in so many. */
const STEP = 8;
const MAX_MILLISECONDS = 1000;
const MAX_MESSAGE = 4000;
/** What one input of a megabyte may add to the memory that the process has needed, garbage included. */
const MAX_KILOBYTES = 300 * 1024;
const MEGABYTE = 1 << 20;

const scratch = mkdtempSync(join(tmpdir(), "cfsboot-fuzz-"));
afterAll(() => rmSync(scratch, { recursive: true }));

/** What is wrong with how a target takes this input; `undefined` if nothing is. */
async function judge(target: Target, data: Uint8Array): Promise<string | undefined> {
  const memory = process.resourceUsage().maxRSS;
  // time of this thread's: others may be busy on the machine
  const started = process.threadCpuUsage();
  let failure: unknown;
  let failed = false;
  try {
    await target.read(data);
  } catch (error) {
    failed = true;
    failure = error;
  }
  const { user, system } = process.threadCpuUsage(started);
  const milliseconds = (user + system) / 1000;
  if (milliseconds > MAX_MILLISECONDS) return `took ${Math.round(milliseconds)} ms`;
  const kilobytes = process.resourceUsage().maxRSS - memory;
  if (kilobytes > MAX_KILOBYTES) return `took ${kilobytes} KiB`;
  if (!failed) return undefined;
  if (!(failure instanceof Error)) return `threw ${String(failure)}`;
  for (
    let at: unknown = failure;
    at !== undefined;
    at = at instanceof Error ? at.cause : undefined
  ) {
    if (isInternal(at)) return `not an error for people: ${at instanceof Error ? at.stack : at}`;
  }
  const { message } = describeError(failure);
  if (!target.place.test(message)) return `names no place: ${message.slice(0, 300)}`;
  if (message.length > MAX_MESSAGE) return `says too much: ${message.slice(0, 300)}`;
  return undefined;
}

/** Keeps the input, to be looked at. */
function keep(target: Target, data: Uint8Array): string {
  const file = join(tmpdir(), `cfsboot-fuzz-${target.name.replaceAll(/\W+/g, "-")}`);
  writeFileSync(file, data);
  return file;
}

describe.each(targets(scratch))("$name", (target) => {
  test("good specimens are read", async () => {
    for (const specimen of target.specimens) await target.read(specimen);
  });

  // some targets read only large inputs
  if (target.rounds !== 0) {
    test(
      "bad ones are refused well",
      async () => {
        const rounds = target.rounds ?? ROUNDS;
        const end = Date.now() + SECONDS * 1000;
        for (let round = 0; SECONDS > 0 ? Date.now() < end : round < rounds; round++) {
          const seed = FIRST_SEED + round;
          const random = new Random(seed);
          let data = mutate(random, target.specimens);
          if (target.repair !== undefined && random.below(4) > 0) data = target.repair(data);
          const wrong = await judge(target, data);
          if (wrong !== undefined) expect.fail(`seed ${seed}: ${wrong}\nin ${keep(target, data)}`);
        }
      },
      (SECONDS + 60) * 1000,
    );
  }

  test(
    "a megabyte of garbage, too",
    async () => {
      const all = garbage(MEGABYTE, target.specimens, target.tokens ?? []);
      // a part of it in short runs; any two targets get different ones
      const some = all.filter((_, i) => SECONDS > 0 || i % STEP === target.name.length % STEP);
      for (const { what, make } of some) {
        const data = make();
        const wrong = await judge(target, data);
        if (wrong !== undefined) expect.fail(`${what}: ${wrong}\nin ${keep(target, data)}`);
      }
    },
    (SECONDS + 120) * 1000,
  );
});
