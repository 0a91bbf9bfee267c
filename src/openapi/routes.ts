import { RequestMethod, type Type } from '@nestjs/common';
import { METHOD_METADATA, PATH_METADATA } from '@nestjs/common/constants.js';
import { type DiscoveryService, MetadataScanner } from '@nestjs/core';
import type { Permission } from '../edge/principal.js';
import { PUBLIC, REQUIRES } from '../edge/scope.guard.js';
import { API_ROUTE, type RouteDescription } from '../http/api-route.js';

/** A route as the program has it. */
export interface Route {
  method: string;
  /** As OpenAPI writes it: `/api/v1/traces/{trace_id}`. */
  path: string;
  isPublic: boolean;
  /** undefined: public, or any credential will do. */
  permission: Permission | undefined;
  description: RouteDescription;
}

/**
 * Every route of every controller, from the metadata that the framework itself routes by.
 *
 * @throws Error naming the routes that do not describe themselves
 */
export function collectRoutes(discovery: DiscoveryService): Route[] {
  const routes: Route[] = [];
  const nameless: string[] = [];
  for (const { metatype } of discovery.getControllers()) {
    const controller = metatype as Type;
    for (const name of new MetadataScanner().getAllMethodNames(controller.prototype)) {
      const handler = controller.prototype[name] as object;
      const paths = pathsOf(controller, handler);
      const description = Reflect.getMetadata(API_ROUTE, handler) as RouteDescription | undefined;
      if (!description && paths.length > 0) nameless.push(`${controller.name}.${name} (${paths[0]})`);
      if (!description) continue;
      const of = <T>(key: string) =>
        (Reflect.getMetadata(key, handler) ?? Reflect.getMetadata(key, controller)) as T | undefined;
      const isPublic = of<boolean>(PUBLIC) === true;
      const permission = isPublic ? undefined : of<Permission>(REQUIRES);
      const method = RequestMethod[Reflect.getMetadata(METHOD_METADATA, handler)].toLowerCase();
      for (const path of paths) routes.push({ method, path, isPublic, permission, description });
    }
  }
  if (nameless.length > 0) throw new Error(`Routes without @ApiRoute: ${nameless.join(', ')}`);
  return routes;
}

/** None for a method that is no route. */
function pathsOf(controller: object, handler: object): string[] {
  const own = Reflect.getMetadata(PATH_METADATA, handler) as string | string[] | undefined;
  if (own === undefined) return [];
  const base = (Reflect.getMetadata(PATH_METADATA, controller) ?? '') as string | string[];
  return [base].flat().flatMap((left) => [own].flat().map((right) => openApiPath(`${left}/${right}`)));
}

function openApiPath(path: string): string {
  const parts = path.split('/').filter((part) => part !== '');
  return `/${parts.map((part) => part.replace(/^:(\w+)$/, '{$1}')).join('/')}`;
}
