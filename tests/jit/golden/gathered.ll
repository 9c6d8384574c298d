!0 = !{!"branch_weights", i32 2000, i32 1}
!1 = !{!"branch_weights", i32 1, i32 2000}
@"digits.0" = internal unnamed_addr constant [4 x i8] [i8 3, i8 1, i8 4, i8 1]
define { i64, i64, i64 } @"gathered"(i64 %a) nounwind {
entry:
  %best.12 = alloca i64
  %.1 = call { i64, i64, i64 } @"escaping"(i64 %a)
  %.2 = extractvalue { i64, i64, i64 } %.1, 0
  %.3 = extractvalue { i64, i64, i64 } %.1, 1
  %.4 = extractvalue { i64, i64, i64 } %.1, 2
  %.7 = icmp eq i64 %.3, 0
  br i1 %.7, label %returned.6, label %raised.5, !prof !0
raised.5:
  %.8 = insertvalue { i64, i64, i64 } poison, i64 %.3, 1
  %.9 = insertvalue { i64, i64, i64 } %.8, i64 %.4, 2
  ret { i64, i64, i64 } %.9
returned.6:
  %.10 = call i64 @"caught"(i64 %a)
  %.11 = call i64 @"chosen"(i64 %.2, i64 %.10)
  store i64 %.11, ptr %best.12
  %.15 = load i64, ptr %best.12
  %.16 = and i64 %a, 1
  %.17 = getelementptr i8, ptr @"digits.0", i64 %.16
  %.18 = load i8, ptr %.17
  %.19 = zext i8 %.18 to i64
  %.20 = xor i64 %.15, %.19
  store i64 %.20, ptr %best.12
  %.22 = load i64, ptr %best.12
  %.23 = and i64 %a, 2
  %.24 = getelementptr i8, ptr @"digits.0", i64 %.23
  %.25 = load i8, ptr %.24
  %.26 = zext i8 %.25 to i64
  %.27 = xor i64 %.22, %.26
  store i64 %.27, ptr %best.12
  %.28 = load i64, ptr %best.12
  %.29 = insertvalue { i64, i64, i64 } poison, i64 %.28, 0
  %.30 = insertvalue { i64, i64, i64 } %.29, i64 0, 1
  %.31 = insertvalue { i64, i64, i64 } %.30, i64 0, 2
  ret { i64, i64, i64 } %.31
}
define internal i64 @"chosen"(i64 %a, i64 %b) nounwind {
entry:
  %.1 = add i64 %a, %b
  ret i64 %.1
}
define internal i64 @"caught"(i64 %a) nounwind {
entry:
  %.7 = icmp ugt i64 %a, 255
  br i1 %.7, label %then.4, label %else.5
then.4:
  %.8 = add i64 1, 1
  br label %except.1
else.5:
  %.9 = trunc i64 %a to i8
  %.10 = sext i8 %.9 to i64
  %.11 = ashr i64 %.10, 1
  ret i64 %.11
except.1:
  %.12 = sub i64 %.8, 1
  %.13 = sub i64 0, %a
  ret i64 %.13
}
define internal { i64, i64, i64 } @"escaping"(i64 %a) nounwind {
entry:
  %.4 = icmp ne i64 %a, 3
  br i1 %.4, label %then.1, label %else.2
then.1:
  %.9 = icmp ugt i64 %a, 255
  br i1 %.9, label %then.6, label %else.7
then.6:
  %.10 = add i64 1, 1
  %.11 = insertvalue { i64, i64, i64 } poison, i64 %.10, 1
  %.12 = insertvalue { i64, i64, i64 } %.11, i64 %a, 2
  ret { i64, i64, i64 } %.12
else.7:
  %.13 = trunc i64 %a to i8
  %.14 = sext i8 %.13 to i64
  br label %end.3
else.2:
  br label %end.3
end.3:
  %.15 = phi i64 [ %.14, %else.7 ], [ 4, %else.2 ]
  %.16 = insertvalue { i64, i64, i64 } poison, i64 %.15, 0
  %.17 = insertvalue { i64, i64, i64 } %.16, i64 0, 1
  %.18 = insertvalue { i64, i64, i64 } %.17, i64 0, 2
  ret { i64, i64, i64 } %.18
}
