/** Another tool than `cfsboot`, with arguments of its own kind. */
import { parseArgs } from "node:util";
import { UsageError } from "./errors.ts";

export interface Tool {
  readonly name: string;
  /** Printed with `--help`, and after the error where the arguments are wrong. */
  readonly usage: string;
  /** Does what the arguments say. Throws `UsageError` if they say nothing that the tool understands. */
  run(args: readonly string[]): Promise<void>;
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
