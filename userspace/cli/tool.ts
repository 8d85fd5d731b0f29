/** The names of other tools under which cfsboot takes their arguments: `mkcomposefs`, or `cfsboot mkcomposefs`. */
import { basename } from "node:path";
import { parseArgs } from "node:util";
import { UsageError } from "./errors.ts";

export interface Tool {
  readonly name: string;
  /** Printed with `--help`, and after the error where the arguments are wrong. */
  readonly usage: string;
  /** Does what the arguments say. Throws `UsageError` if they say nothing that the tool understands. */
  run(args: readonly string[]): Promise<void>;
}

const TOOLS: Readonly<Record<string, () => Promise<{ readonly tool: Tool }>>> = {
  mkcomposefs: () => import("./mkcomposefs.ts"),
  "composefs-info": () => import("./composefs-info.ts"),
  "mount.composefs": () => import("./mount-composefs.ts"),
};

/** The tool that is meant by the name of the program or by the first argument, and its arguments. */
export async function findTool(
  program: string | undefined,
  args: readonly string[],
): Promise<{ readonly tool: Tool; readonly args: readonly string[] } | undefined> {
  const find = async (name: string, rest: readonly string[]) => {
    const load = Object.hasOwn(TOOLS, name) ? TOOLS[name] : undefined;
    return load === undefined ? undefined : { tool: (await load()).tool, args: rest };
  };
  return (await find(basename(program ?? ""), args)) ?? (await find(args[0] ?? "", args.slice(1)));
}

type Options = NonNullable<NonNullable<Parameters<typeof parseArgs>[0]>["options"]>;

/** Options and other arguments in any order, as getopt_long(3) has it. */
export function parseToolArgs<const T extends Options>(args: readonly string[], options: T) {
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true });
  } catch (error) {
    throw new UsageError((error as Error).message.split(". To specify")[0]!, { cause: undefined });
  }
}
