/** The names of other tools under which cfsboot takes their arguments: `mkcomposefs`, or `cfsboot mkcomposefs`. */
import { basename } from "node:path";
import type { Tool } from "./tool.ts";

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

/** All of them. */
export async function loadTools(): Promise<Tool[]> {
  return Promise.all(Object.values(TOOLS).map(async (load) => (await load()).tool));
}
