import { SetMetadata } from '@nestjs/common';
import type { z } from 'zod';
import type { ErrorCode } from '../errors.js';

/** Metadata key of a route's `RouteDescription`. */
export const API_ROUTE = 'telemetryflow:api-route';

/** What a route says of itself in the OpenAPI document, beside what its other decorators say: path, method, permission. */
export interface RouteDescription {
  /** One line, in the imperative. */
  summary: string;
  description?: string;
  /** The schema that the query string is checked by; a parameter's text is its `description`. */
  query?: z.ZodObject;
  /** Beginnings of parameter names that take any key: `attr.` stands for `attr.<key>=v`. */
  attributes?: readonly { readonly prefix: string; readonly meaning: string }[];
  /** One property per `:name` of the path; those without one are described as plain text. */
  params?: z.ZodObject;
  /** The schema that the JSON body is checked by. */
  body?: z.ZodType;
  /** The JSON of a success; or, of a list, one of its items, and the answer is a page of them. */
  response?: z.ZodType;
  list?: z.ZodType;
  /** Of a success that is not JSON. */
  contentType?: string;
  /** Of a success: 200, or 201 for POST, unless given; 204 has no body. */
  status?: number;
  /** Other statuses with the same body as a success. */
  statuses?: readonly number[];
  /** Refusals beside those that follow from the rest: authentication, permission, body, parameters, limits. */
  errors?: readonly ErrorCode[];
}

/** Describes a route for `/docs-json`; the program does not start with a route that has no description. */
export const ApiRoute = (description: RouteDescription) => SetMetadata(API_ROUTE, description);
