/** The filesystem tree: declared beside the formats that hold one, at home in the model. */
export * from "../formats/tree.ts";
