/** Users other than root make disks in a user namespace, in which they are root: files there can belong to anybody. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { HintedError } from "../../src/linux/hint.ts";
import { SIGNALS, signalStatus } from "./interruption.ts";

/** Set for the program that runs in it. */
const MARK = "CFSBOOT_IN_USER_NAMESPACE";
/** Whether this program has been run once more, and has said already what it says at first. */
export function isRunAgain(): boolean {
  return process.env[MARK] !== undefined;
}

/**
 * Runs this program once more in a user namespace, if that is needed, and returns its exit status; `undefined` if this is
 * root, or that namespace. Signals are for that program: what it has begun it cleans up.
 */
export async function runAsRoot(euid: number): Promise<number | undefined> {
  if (euid === 0 || isRunAgain()) return undefined;
  const node = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const map = ["--map-root-user", "--map-auto", "--"];
  requireMap(map);
  const env = { ...process.env, [MARK]: "1" };
  const child = spawn("unshare", [...map, ...node], { stdio: "inherit", env });
  const onSignal = (signal: NodeJS.Signals) => void child.kill(signal);
  for (const signal of SIGNALS) process.on(signal, onSignal);
  try {
    const [status, signal] = (await once(child, "exit")) as [number | null, NodeJS.Signals | null];
    return status ?? signalStatus(signal!);
  } catch (error) {
    throw new Error("run unshare", { cause: error });
  } finally {
    for (const signal of SIGNALS) process.off(signal, onSignal);
  }
}

/** Throws if there can be no such namespace: what the program says in it is not to be mistaken for that. */
function requireMap(map: readonly string[]): void {
  const { status, stderr, error } = spawnSync("unshare", [...map, "true"], { encoding: "utf8" });
  if (status === 0) return;
  throw new HintedError(
    "no user namespace can be made, and only root does without",
    "apt install uidmap util-linux; /etc/subuid and /etc/subgid must give this user some IDs",
    { cause: error ?? new Error(stderr.trim() || `unshare: exit status ${status}`) },
  );
}
